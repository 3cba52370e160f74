"""``parse(dump(config)) == config``, for configurations nobody would write."""

from __future__ import annotations

import json
from ipaddress import ip_network
from operator import truediv
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbproxy.config.dump import as_json, dump
from lbproxy.config.lines import LINES
from lbproxy.config.lines.route import dump_route
from lbproxy.config.model import (
    Address,
    AgentSpec,
    AlertsSpec,
    CertificateSpec,
    CheckSpec,
    CommandSpec,
    Config,
    GlobalSpec,
    ListenSpec,
    LogSpec,
    MailSpec,
    PassiveSpec,
    PluginSpec,
    RebalanceSpec,
    RuleSpec,
    ServerSpec,
    WebhookSpec,
)
from lbproxy.config.options import option_fields
from lbproxy.config.sections import SECTIONS
from lbproxy.features import declare_keys
from lbproxy.http.contradiction import excluded

from .fakes import MINIMAL, TABLE, build

declare_keys()
FrontendSpec: Any = SECTIONS["frontend"].spec
BackendSpec: Any = SECTIONS["backend"].spec
RouteSpec: Any = LINES["route"].options

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
NASTY = st.sampled_from(
    [
        "",
        " ",
        "a b",
        "${X}",
        "$${",
        "#",
        "; x",
        'say "hi"',
        "it's",
        "a=b",
        "->",
        "not",
        "host",
        "loud",
        "\\n",
    ]
)
STRING = TEXT | NASTY
NAME = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
PATH = st.from_regex(r"/[a-z]{1,5}(/[a-z #]{1,5}){0,2}", fullmatch=True)
NETWORK = st.ip_addresses().map(ip_network)
HOST = st.ip_addresses().map(str) | st.from_regex(r"[a-z]{1,9}(\.[a-z]{1,5})?", fullmatch=True)
ADDRESS = st.builds(Address, st.just("tcp"), HOST, st.integers(1, 65535)) | PATH.map(
    lambda path: Address("unix", path=path)
)


def value(kind: str, facts: Any) -> st.SearchStrategy[Any]:
    """Values of one kind within its bounds."""
    low, high = facts.get("min"), facts.get("max")
    if kind.startswith("list:"):
        return st.lists(value(kind[5:], facts), max_size=3, unique=True).map(tuple)
    if kind in ("int", "size"):
        return st.integers(0 if low is None else low, 10**9 if high is None else high)
    if kind == "workers":
        return st.integers(0, 1024)
    if kind == "size_or_none":
        return st.none() | st.integers(0, 1 << 40)
    if kind in ("duration", "float", "percent", "times"):
        return st.floats(0 if low is None else low, 10**6 if high is None else high)
    table: dict[str, st.SearchStrategy[Any]] = {
        "octal": st.integers(0, 0o777),
        "bool": st.booleans(),
        "flag": st.booleans(),
        "string": STRING,
        "choice": st.sampled_from(facts.get("choices", ("",))),
        "name": NAME,
        "secret": PATH.map("file:{}".format) | st.text('ab #;"=${', min_size=16, max_size=20),
        "path": PATH,
        "retry": st.sampled_from(("connect", "reset", "timeout", "junk", "5xx", "429", "503")),
        "method": st.sampled_from(("GET", "POST", "VERSION-CONTROL", "a!")),
        "program": PATH | NAME,
        "address": ADDRESS,
        "target": ADDRESS,
        "network": NETWORK,
        "client": NETWORK,  # list:NAME needs a section of that name
        "rate": st.integers(0, 10**6).map(lambda n: n / 100),
        "byte_rate": st.builds(truediv, st.integers(0, 10**9), st.integers(1, 3600)),
    }
    return table[kind]


def spec(cls: type[Any], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects of ``cls`` with some of its options set."""
    required, optional = {}, {}
    for name, f in option_fields(cls).items():
        kind = f.metadata["kind"]
        if name in fixed:
            continue
        if kind.partition(":")[0] in ("line", "lines"):
            continue
        if kind in ("backend", "endpoint"):
            continue
        strategy = value(kind, f.metadata)
        if f.metadata.get("positional") == "rest":
            strategy = st.lists(strategy, max_size=3).map(tuple)
        (required if f.default is attrs.NOTHING else optional)[name] = strategy
    return st.fixed_dictionaries({**required, **fixed}, optional=optional).map(
        lambda values: cls(**values)
    )


def plugin(kind: str, *names: str) -> st.SearchStrategy[PluginSpec]:
    def of(name: str) -> st.SearchStrategy[PluginSpec]:
        cls = TABLE[kind][name]
        fixed = {"what": st.just("source")} if name == "hash" else {}
        options = spec(cls.Options, **fixed)
        return options.map(lambda o: PluginSpec(name, cls, o))

    return st.sampled_from(names).flatmap(of)


def _tls_words(server: ServerSpec) -> ServerSpec:
    plain = attrs.evolve(server, certificate="", tier=0 if server.backup else server.tier)
    return plain if plain.tls else attrs.evolve(plain, ca="", verify=True, sni="")


SERVERS = st.lists(
    spec(ServerSpec).map(_tls_words), min_size=1, max_size=3, unique_by=lambda s: s.name
)


def _check_words(check: CheckSpec) -> CheckSpec:
    if check.no_tls or not check.tls:
        return attrs.evolve(check, tls=False, sni="", ca="", verify=None)
    return check


CHECK = spec(CheckSpec, probe=plugin("probe", "http", "tcp")).map(_check_words)
ROUTE_ARGS = {
    "host": st.lists(
        st.from_regex(r"[a-z]{1,4}(\.[a-z]{1,3})?", fullmatch=True), min_size=1, max_size=2
    ),
    "header": st.tuples(NAME | st.sampled_from(["host", "not"]), NASTY.filter(bool)).map(list),
    "cookie": st.lists(NAME, min_size=1, max_size=1),
}
CONDITION = st.sampled_from(sorted(ROUTE_ARGS)).flatmap(
    lambda verb: st.tuples(st.just(verb), ROUTE_ARGS[verb].map(tuple), st.booleans())
)


def _route(conditions: Any, action: PluginSpec | None) -> RouteSpec:
    bare = RouteSpec(tuple(conditions), "" if action else "app", action)
    return attrs.evolve(bare, text=dump_route(bare))


ROUTES = (
    st.lists(
        st.builds(
            _route,
            st.lists(CONDITION, min_size=1, max_size=2).filter(lambda all_: not excluded(all_)),
            st.none() | plugin("filter", "redirect"),
        ),
        max_size=2,
    )
    .filter(
        lambda routes: len(routes) < 2 or not {*routes[0].conditions} <= {*routes[1].conditions}
    )
    .map(tuple)
)  # the second one must be reached


def _fitting(log: LogSpec) -> LogSpec:
    """Without the options that its target does not have."""
    syslog = log.path.startswith("syslog:")
    if syslog or log.path in ("", "stdout"):
        log = attrs.evolve(log, rotate_size=0, rotate_every=0.0)
    if not (log.rotate_size or log.rotate_every):
        log = attrs.evolve(log, keep=10)
    return log if syslog else attrs.evolve(log, facility="local0", tag="lbproxy")


LOG = spec(
    LogSpec,
    path=st.sampled_from(["", "stdout", "syslog:udp:10.0.0.9", "syslog:unix:/dev/log"]) | PATH,
    format=st.sampled_from(["json", "combined", "%{client_ip} # %%"]),
).map(_fitting)


def _elsewhere(log: LogSpec) -> LogSpec:
    """Not where the common log goes: what two of one place must agree on is tested elsewhere."""
    if log.path in ("", "stdout"):
        return log
    return attrs.evolve(log, path="syslog:tcp:web" if log.path[:2] == "sy" else "/web" + log.path)


LISTEN = spec(
    ListenSpec,
    endpoint=st.just("tls:443"),
    address=st.just(Address("tcp", "", 443)),
    tls=st.just(True),
    certificates=st.lists(PATH, min_size=1, max_size=2, unique=True).map(tuple),
    mode=st.just(0o660),
)
FRONTEND = spec(
    FrontendSpec,
    name=st.just("web"),
    mode=st.just("http"),
    listen=LISTEN.map(lambda one: (one,)),
    backend=st.just("app"),
    routes=ROUTES,
    forwarded=st.sampled_from([(), ("none",), ("rfc7239", "x-forwarded")]),
    real_ip=st.just(""),  # needs trusted_proxies
    filters=st.lists(plugin("filter", "set-header", "tag"), max_size=2).map(tuple),
    access_log=st.none() | LOG.map(_elsewhere),
)


def _checked(backend: Any) -> Any:
    """A check with nothing to check is a mistake."""
    if all(server.no_check for server in backend.servers):
        return attrs.evolve(backend, check=None)
    return backend


def _with_effect(backend: Any) -> Any:
    """Without what does nothing as the rest is: a mistake too."""
    servers = tuple(
        attrs.evolve(
            server,
            check_address=None if server.no_check or not backend.check else server.check_address,
            agent_address=server.agent_address if backend.agent else None,
        )
        for server in backend.servers
    )
    backend = attrs.evolve(backend, servers=servers, queue=backend.queue or 1)
    if backend.retries == 0:
        idle = ("retry_on", "retry_backoff", "timeout_retries", "max_retries", "retry_budget")
        usual = {name: attrs.fields_dict(BackendSpec)[name].default for name in idle}
        backend = attrs.evolve(backend, **usual)
    if not backend.retry_budget:
        backend = attrs.evolve(backend, retry_floor=10.0)
    if backend.retries == 0 or backend.sticky:
        backend = attrs.evolve(backend, hedge=0.0)
    if backend.reuse == "never":
        backend = attrs.evolve(backend, pool_min=0)
    if backend.pool_min > backend.pool_size:
        backend = attrs.evolve(backend, pool_min=backend.pool_size)
    if not backend.hedge:
        backend = attrs.evolve(
            backend, hedge_share=attrs.fields_dict(BackendSpec)["hedge_share"].default
        )
    return backend


def _judging(values: dict[str, Any]) -> PassiveSpec:
    values["eject_max"] = max(values.get("eject", 10.0), values.get("eject_max", 300.0))
    if not (values.get("success_rate") or values.get("latency")):
        values["errors"] = values.get("errors", 5) or 5
        for idle in ("every", "min_servers", "min_requests"):
            values.pop(idle, None)
    for idle, without in (("stdev", "success_rate"), ("latency_min", "latency")):
        if not values.get(without):
            values.pop(idle, None)
    return PassiveSpec(**values)


PASSIVE = st.fixed_dictionaries(
    {},
    optional={
        name: value(f.metadata["kind"], f.metadata)
        for name, f in option_fields(PassiveSpec).items()
    },
).map(_judging)

BACKEND = (
    spec(
        BackendSpec,
        cache=st.just(""),  # needs a [cache NAME]
        name=st.just("app"),
        mode=st.just("http"),
        servers=SERVERS.map(tuple),
        balance=plugin("balancer", "roundrobin", "hash"),
        sticky=st.none() | plugin("sticky", "source"),
        check=st.none() | CHECK,
        passive=st.none() | PASSIVE,
        agent=st.none() | spec(AgentSpec),
        rebalance=st.none()
        | spec(
            RebalanceSpec,
            protocol=st.just("tcp"),
            rate=st.integers(1, 10**6).map(lambda n: n / 100),
        ),
    )
    .map(_checked)
    .map(_with_effect)
)
MAIL_ADDRESS = st.from_regex(r"[a-z]{1,5}@[a-z]{1,5}\.example", fullmatch=True)
TOKEN = st.from_regex(r"[!-~]{0,10}", fullmatch=True)


def _login(mail: MailSpec) -> MailSpec:
    return mail if mail.tls == "always" else attrs.evolve(mail, user="")


def lines(cls: type[Any], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(spec(cls, **fixed), max_size=2).map(tuple)


NAMESERVERS = st.lists(
    st.sampled_from(["10.0.0.2", "10.0.0.2:5353", "[2001:db8::1]:53"]), unique=True
).map(tuple)

ALERTS = spec(
    AlertsSpec,
    on=st.just(True),
    webhooks=lines(WebhookSpec, url=st.just("https://example.com/x?a=1"), token=TOKEN),
    mails=st.lists(
        spec(
            MailSpec,
            to=st.lists(MAIL_ADDRESS, min_size=1, max_size=2).map(tuple),
            sender=MAIL_ADDRESS,
            server=st.just(Address("tcp", "mail.example", 587)),
        ).map(_login),
        max_size=2,
    ).map(tuple),
    commands=lines(
        CommandSpec, argv=st.lists(STRING, max_size=2).map(lambda rest: ("/bin/true", *rest))
    ),
    rules=st.lists(
        spec(RuleSpec, name=st.sampled_from(["queue", "latency"]), limit=st.just("")),
        max_size=2,
        unique_by=lambda rule: rule.name,
    ).map(tuple),
    quiet=st.lists(st.sampled_from(["22:00-06:00", "00:00-24:00"]), max_size=2).map(tuple),
)
CONFIGS = st.builds(
    Config,
    spec(GlobalSpec, access_log=LOG, nameservers=NAMESERVERS).map(
        lambda one: attrs.evolve(
            one, metrics_servers=True, admin_hosts=(), admin_public=("health",), admin_tokens=""
        )
    ),
    FRONTEND.map(lambda one: (one,)),
    BACKEND.map(lambda one: (one,)),
    spec(CertificateSpec, name=NAME).map(lambda one: (one,)),
    st.just(AlertsSpec()) | ALERTS,
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(CONFIGS)
def test_dump_and_back(config: Config) -> None:
    assert build(dump(config)) == config
    json.dumps(as_json(config))


@pytest.mark.long
@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(CONFIGS)
def test_many_dumps_and_back(config: Config) -> None:
    test_dump_and_back.hypothesis.inner_test(config)


def test_defaults_are_left_out() -> None:
    assert dump(build(MINIMAL)) == (
        "[lbproxy]\n\n[frontend web]\nlisten = tcp:8080\nbackend = app\n\n"
        "[backend app]\nmode = http\nbalance = roundrobin\nservers = a 10.0.0.1:80\n"
    )


def test_plain_data_can_keep_the_secret() -> None:
    config = build("[lbproxy]\nsecret = 0123456789abcdef\n" + MINIMAL)
    assert "0123456789" not in json.dumps(as_json(config, mask=True))
    assert as_json(build(MINIMAL), mask=True)["lbproxy"]["secret"] == ""


def test_plain_data() -> None:
    data = as_json(build(MINIMAL + "check = http GET /x every=1s\n"))
    app = data["backends"]["app"]
    assert app["servers"][0]["address"] == "10.0.0.1:80"
    assert app["balance"] == {"name": "roundrobin", "options": {}}
    assert app["check"]["probe"]["options"] == {"method": "GET", "path": "/x", "expect": 200}
    assert app["check"]["every"] == 1.0
    assert "where" not in app
    assert data["file"] == "lb.ini"
