"""Whole texts: what they become, and what is said about mistakes."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lbproxy.config.build import DISK, load, parse_server
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.lines import syslog_address
from lbproxy.config.model import Address, Config, LogSpec

from .fakes import MINIMAL, build, files, mistakes, resolve

FULL = """\
[lbproxy]
access_log = logs/access.log json
maxconn = 20000

[frontend web]
listen =
    tcp:8080
    tls:8443 certificates=site,certs/ alpn=h2,http/1.1 min_version=1.3
    unix:/run/lb.sock mode=600
routes =
    host api.example.com www.example.com  not path /private/* -> api
    header host x                         -> api
    path /old                             -> redirect 301 https://{host}{uri}
    default                               -> app
filters =
    set-header request X-Name "two words"
    tag a "level=3" level=2 nets=10.0.0.0/8,::1 loud
access_log = stdout "%{client_ip} # %{status}"
allow = 10.0.0.0/8 192.168.0.0/16
    2001:db8::/32
max_body = 10m

[backend app]
balance = hash header X-User bound=1.25
servers =
    a 10.0.0.11:8000 weight=3
    b [::1]:8000 tls sni=b.internal certificate=site ca=ca.pem
    spare unix:/run/spare backup weight=0
check = http GET /healthz?x=1 expect=204 every=500ms rise=1
timeout_queue = 1m30s

[backend api]
servers = x api.internal:80

[certificate site]
certificate = site.pem
hosts = example.com, www.example.com
"""


def test_everything_at_once() -> None:
    config = build(FULL)
    assert config.settings.access_log == LogSpec("/etc/lb/logs/access.log", "json")
    web = config.frontend("web")
    plain, tls, unix = web.listen
    assert (plain.address, plain.tls) == (Address("tcp", "", 8080), False)
    assert (tls.address, tls.tls) == (Address("tcp", "", 8443), True)
    assert tls.certificates == ("site", "/etc/lb/certs")
    assert tls.alpn == ("h2", "http/1.1")
    assert (unix.address, unix.mode) == (Address("unix", path="/run/lb.sock"), 0o600)
    first, header, old, default = web.routes
    assert first.conditions == (
        ("host", ("api.example.com", "www.example.com"), False),
        ("path", ("/private/*",), True),
    )
    assert first.text == "host api.example.com www.example.com not path /private/* -> api"
    assert header.conditions == (("header", ("host", "x"), False),)
    assert old.action is not None
    assert old.action.options.target == "https://{host}{uri}"
    assert (default.conditions, default.backend) == ((), "app")
    named, tag = web.filters
    assert named.options.value == "two words"
    assert (tag.options.words, tag.options.level, tag.options.loud) == (("a", "level=3"), 2, True)
    assert web.access_log == LogSpec("stdout", "%{client_ip} # %{status}")
    assert web.allow[2] == ip_network("2001:db8::/32")
    assert web.max_body == 10 << 20
    app = config.backend("app")
    assert app.mode == "http"
    assert (app.balance.options.key, app.balance.options.bound) == ("X-User", 1.25)
    a, b, spare = app.servers
    assert (a.weight, b.tls, b.ca, spare.backup) == (3, True, "/etc/lb/ca.pem", True)
    assert app.check is not None
    assert (app.check.every, app.check.rise, app.check.probe.options.path) == (
        0.5,
        1,
        "/healthz?x=1",
    )
    assert app.check.probe.options.expect == 204
    assert config.backend("api").balance.name == "roundrobin"
    assert config.certificates[0].hosts == ("example.com", "www.example.com")
    assert (a.where.file, a.where.line) == ("lb.ini", 26)
    with pytest.raises(KeyError):
        config.backend("none")


def test_the_smallest() -> None:
    assert mistakes(MINIMAL) == ()
    assert build("").frontends == ()


TEN = """\
[frontend web]
listen = tcp:8080
    tcp:99999
routes =
    hots api.example.com -> app
    path /x -> apq
backend = app
max_body = lots
maxcon = 3

[backend app]
balance = leastcon
servers =
    a 10.0.0.1:80 wieght=3
    b 10.0.0.1
timeout_queue = 5

[backend app]
on_down = close
"""


def test_ten_mistakes_are_ten_errors() -> None:
    errors = mistakes(TEN)
    assert [(e.where.line, e.key, e.nearest) for e in errors] == [
        (3, "listen", ""),
        (5, "routes", "host"),
        (6, "routes", "app"),
        (8, "max_body", ""),
        (9, "maxcon", "maxconn"),
        (12, "balance", "leastconn"),
        (14, "servers", "weight"),
        (15, "servers: address", ""),
        (16, "timeout_queue", ""),
        (18, "", ""),
    ]
    assert len(errors) == 10
    assert str(errors[5]) == (
        "lb.ini:12: [backend app] balance: unknown balancer 'leastcon'; "
        "allowed: roundrobin, leastconn, hash, explosive; did you mean 'leastconn'?"
    )
    assert errors[5].as_dict()["nearest"] == "leastconn"
    text = str(ConfigErrors(errors))
    assert text.count("\n") == len(errors) - 1


def one(text: str) -> str:
    (error,) = mistakes(text)
    return str(error)


FRONT = "[frontend f]\nlisten = tcp:1\nbackend = b\n"
TCP = "[frontend f]\nmode = tcp\nlisten = tcp:1\nbackend = b\n"
BACK = "[backend b]\nservers = a 10.0.0.1:80\n"

SINGLE = [
    ("[lbproxy x]\n", 1, "takes no name"),
    ("[backend]\n", 1, "needs a name"),
    ("[backend a/b]\nqueue = 1", 1, "is not a name"),
    ("[lbproxy]\nmaxconn =\n", 2, "has no value"),
    ("[lbproxy]\nmaxconn = 1\n  2\n", 3, "takes one value"),
    ("[lbproxy]\nmaxconn = 1\nmaxconn = 1\n", 3, "given twice, first at lb.ini:2"),
    ("[lbproxy]\nmaxconn = -1\n", 2, "between 0 and 10000000"),
    ("[frontend f]\nbackend = b\n" + BACK, 1, "no listener"),
    ("[frontend f]\nlisten = tcp:1\n", 1, "neither a backend nor routes"),
    (FRONT.replace("= b", "= bb") + BACK + "mode = http\n", 3, "there is no backend 'bb'"),
    (FRONT + "[backend b]\n", 4, "has no servers"),
    (FRONT + BACK + "  a 10.0.0.2:80\n", 6, "server 'a' is already defined, at lb.ini:5"),
    (FRONT + BACK + "mode = tcp\n", 6, "frontend 'f' at lb.ini:3 is 'http'"),
    (FRONT + TCP.replace("f]", "g]").replace(":1", ":2") + BACK, 8, "both modes"),
    (BACK, 1, "no frontend uses"),
    (TCP + "max_body = 1k\n" + BACK, 5, "only for http mode"),
    (TCP + BACK + "pool_size = 3\n", 7, "only for http mode"),
    (TCP + "filters = set-header request A b\n" + BACK, 5, "works in http mode, not in tcp mode"),
    (TCP + BACK + "filters = set-header request A b\n", 7, "works in http mode, not in tcp mode"),
    (TCP.replace("backend = b", "routes = path /x -> b") + BACK, 4, "needs mode = http"),
    (TCP + BACK + "balance = hash header A\n", 7, "needs the HTTP request"),
    (FRONT + BACK + "balance = hash header\n", 6, "hash header needs a name"),
    (FRONT + BACK + "balance = hash source bound=x\n", 6, "not a number"),
    (FRONT + BACK + "balance = hash source k stickyy\n", 6, "did you mean 'sticky'?"),
    (FRONT + BACK + "balance = roundrobin 3\n", 6, "unexpected word '3'"),
    (FRONT + BACK + "balance = broken\n", 6, "file.py:3: ZeroDivisionError"),
    (FRONT + BACK + "balance = explosive\n", 6, "RuntimeError: boom"),
    (
        FRONT + BACK + "filters = set-header request A\n  tag loud loud\n",
        7,
        "'loud' is given twice",
    ),
    (FRONT + BACK + "filters = set-header request\n", 6, "header is missing"),
    (FRONT + BACK + "filters = tag levle=3\n", 6, "did you mean 'level'?"),
    (FRONT + BACK + "filters = tag a\n  tag 'b\n", 7, "never closed"),
    (FRONT + BACK + "check = htp GET\n", 6, "did you mean 'http'?"),
    (FRONT + BACK + "check = tcp evry=2s\n", 6, "did you mean 'every'?"),
    (FRONT + BACK + "check = tcp every=1ms\n", 6, "between 50ms and 1d"),
    (FRONT + BACK + "check =\n", 6, "has no value"),
    (FRONT + BACK + "  c 10.0.0.9:80 sni=x\n", 6, "no effect without 'tls'"),
    (FRONT + BACK + "  c 10.0.0.9:80 tls certificate=x\n", 6, "there is no certificate 'x'"),
    (FRONT + BACK + "  c 10.0.0.9:80 weight\n", 6, "needs a value"),
    (FRONT + BACK + "  c\n", 6, "address is missing"),
    (FRONT.replace("tcp:1", "tls:1") + BACK, 2, "needs certificates"),
    (FRONT.replace("tcp:1", "tcp:1 alpn=h2") + BACK, 2, "only for tls: listeners"),
    (FRONT.replace("tcp:1", "tcp:1 mode=600") + BACK, 2, "only for unix listeners"),
    (
        FRONT.replace("tcp:1", "systemd:domain=INET:index=0 backlog=9") + BACK,
        2,
        "only for tcp, tls",
    ),
    (FRONT.replace("tcp:1", "tpc:1") + BACK, 2, "unknown endpoint 'tpc'"),
    (FRONT.replace("tcp:1", "tcp:1:interfac=::1") + BACK, 2, "did you mean 'interface'"),
    (FRONT.replace("tcp:1", "tcp:1:interface=host") + BACK, 2, "not an IP address"),
    (FRONT.replace("tcp:1", "tcp:1\n  0.0.0.0:1") + BACK, 3, "same address as at lb.ini:2"),
    (FRONT.replace("tcp:1", "unix:/a\n  unix:/b/../a") + BACK, 3, "same address"),
    (
        FRONT.replace("backend = b", "routes = path /x b") + BACK + "mode = http",
        3,
        "'->' is missing",
    ),
    (FRONT.replace("backend = b", "routes = -> b") + BACK, 3, "no condition precedes"),
    (FRONT.replace("backend = b", "routes = not -> b") + BACK, 3, "no condition follows"),
    (FRONT.replace("backend = b", "routes = default path /x -> b") + BACK, 3, "cannot be combined"),
    (FRONT.replace("backend = b", "routes = path /x ->") + BACK, 3, "is missing after"),
    (FRONT.replace("backend = b", "routes = path /x -> b c") + BACK, 3, "unexpected word 'c'"),
    (FRONT.replace("backend = b", "routes = path /x -> redirekt 301 x") + BACK, 3, "'redirect'?"),
    (FRONT.replace("backend = b", "routes = path /x -> redirect 999 x") + BACK, 3, "allowed: 301"),
    (FRONT.replace("backend = b", "routes = path -> b") + BACK, 3, "'path' wants"),
    (FRONT + "routes = default -> b\n" + BACK, 4, "twice"),
    (
        FRONT.replace("backend = b", "routes = default -> b\n  path /x -> b") + BACK,
        4,
        "never reached: the default at lb.ini:3",
    ),
    (FRONT + "forwarded = none rfc7239\n" + BACK, 4, "cannot be combined"),
    (FRONT + "allow = 10.0.0.1/8\n" + BACK, 4, "10.0.0.0/8"),
    (FRONT + "access_log = a b c\n" + BACK, 4, "3 words"),
    (FRONT + "access_log = a jsn\n" + BACK, 4, "did you mean 'json'?"),
    (FRONT + "access_log = a '%{bad}'\n" + BACK, 4, "[frontend f] access_log"),
    (TCP + "[lbproxy]\naccess_log = a '%{bad}'\n" + BACK, 6, "[lbproxy] access_log"),
    ("[certificate c]\nhosts = a\n", 1, "the key is missing"),
    ('[certificate c]\ncertificate = ""\n', 2, "path is empty"),
    (FRONT + BACK + "  c 10.0.0.9:80 no_check tls verify=maybe\n", 6, "neither yes nor no"),
    (FRONT + BACK + "passive = erors=3\n", 6, "did you mean 'errors'?"),
    (FRONT + BACK + "passive = max_ejected=150%\n", 6, "between 0% and 100%"),
    (FRONT + BACK + "passive = eject=10m\n", 6, "eject_max must not be shorter than eject"),
    (FRONT + BACK + "passive = errors=0\n", 6, "no criterion is set"),
    (FRONT + BACK + "passive = count=6xx\n", 6, "did you mean '5xx'?"),
    (FRONT + BACK + "passive =\n", 6, "has no value"),
    (FRONT + BACK + "panic = 30\n", 6, "not a share"),
    (TCP + BACK + "passive = count=junk\n", 7, "but this backend is tcp"),
    (FRONT + BACK + "retry_on = connect timeot\n", 6, "did you mean 'timeout'?"),
    (FRONT + BACK.rstrip() + " backup tier=1\n", 5, "no effect with 'backup'"),
    (FRONT + BACK + "retry_floor = 5/s\n", 6, "no effect without 'retry_budget'"),
    (FRONT + BACK + "hedge_share = 5%\n", 6, "no effect without 'hedge'"),
    (FRONT + BACK + "hedge = 1s\nretries = 0\n", 6, "needs retries, which is 0"),
    (FRONT + BACK + "retries = 0\nretry_backoff = 1s\n", 7, "no effect with 'retries = 0'"),
    (FRONT + BACK + "queue = 0\nno_server = queue\n", 7, "no effect with 'queue = 0'"),
    (FRONT + BACK.rstrip() + " agent_address=10.0.0.1:9\n", 5, "no effect without 'agent'"),
    (FRONT + BACK.rstrip() + " check_address=10.0.0.1:9\n", 5, "no effect without 'check'"),
    (
        FRONT + BACK.rstrip() + " no_check check_address=10.0.0.1:9\nagent = 9\n",
        5,
        "'check_address' has no effect with 'no_check'",
    ),
    (FRONT + BACK + "passive = stdev=3\n", 6, "no effect without 'success_rate'"),
    (FRONT + BACK + "passive = latency_min=3s\n", 6, "no effect without 'latency'"),
    (
        FRONT + BACK + "passive = min_servers=5\n",
        6,
        "no effect without 'success_rate' or 'latency'",
    ),
    (
        FRONT + BACK + "mirror = c ignore=Date\n[backend c]\nservers = a 10.0.0.1:1\n",
        6,
        "'compare=headers'",
    ),
    (FRONT + BACK + "[lbproxy]\nmetrics_servers = no\n", 7, "no effect without 'admin'"),
    (FRONT + BACK + "[lbproxy]\naccess_log = a.log keep=3\n", 7, "no effect without 'rotate_size'"),
    (FRONT + BACK.rstrip() + " no_check\ncheck = tcp\n", 6, "every server has no_check"),
    (FRONT + BACK + "filters = modeless\n", 6, "its modes raised KeyError"),
    (FRONT + BACK.replace("10.", "http://10."), 5, "is a URL; an address is host:port"),
    (FRONT + BACK.replace("a 10", "server a 10"), 5, "remove the word 'server'"),
    (FRONT + BACK.replace("a 10", "\na 10"), 6, "belongs to 'servers' above: indent it"),
    (FRONT + BACK + "via = x\n", 6, "unknown key 'via' here; it belongs in [frontend]"),
]


def test_a_server_may_be_called_server() -> None:
    assert not mistakes(FRONT + "[backend b]\nservers = server 10.0.0.1:80 ca=/a:b tls\n")


@pytest.mark.parametrize(("text", "line", "words"), SINGLE, ids=[words for _, _, words in SINGLE])
def test_one_mistake_is_one_error(text: str, line: int, words: str) -> None:
    errors = mistakes(text)
    assert [e.where.line for e in errors] == [line], [str(e) for e in errors]
    assert words in str(errors[0])


def test_missing_files() -> None:
    text = """\
[frontend f]
listen = tls:1 certificates=site,sitee
backend = b
[backend b]
servers = a 10.0.0.1:80 tls ca=ca.pem
[certificate site]
certificate = site.pem
key = site.key
"""
    errors = mistakes(text, files=files(exists=lambda path: path.endswith("site.pem")))
    assert [(e.where.line, e.key) for e in errors] == [
        (2, "listen"),
        (5, "servers"),
        (8, "key"),
    ]
    assert "did you mean the certificate 'site'" in str(errors[0])


def test_a_mistyped_section_is_not_a_missing_backend_too() -> None:
    assert "unknown section 'bakend'" in one(FRONT + BACK.replace("backend", "bakend"))
    assert "unknown section 'fronted'" in one(FRONT.replace("frontend", "fronted") + BACK)


def test_listen_forms() -> None:
    def address(text: str) -> Address | None:
        return build(FRONT.replace("tcp:1", text) + BACK).frontends[0].listen[0].address

    assert address("tcp:8080:interface=127.0.0.1") == Address("tcp", "127.0.0.1", 8080)
    assert address("tcp:8080:interface=\\:\\:1") == Address("tcp", "::1", 8080)
    assert address("tcp:8080:interface=[::1]") == Address("tcp", "::1", 8080)
    assert address("tcp:127.0.0.1:8080") == Address("tcp", "127.0.0.1", 8080)
    assert address("tcp6:8080") == Address("tcp", "::", 8080)
    assert address("[::1]:80") == Address("tcp", "::1", 80)
    assert address("*:80") == Address("tcp", "", 80)
    assert address("localhost:0") == Address("tcp", "127.0.0.1", 0)
    assert address("unix:run/x:mode=600") == Address("unix", path="/etc/lb/run/x")
    assert address("systemd:domain=INET:index=0") is None
    assert address("onion:80:controlPort=9051") is None


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("systemd:domain=INET", "write either index=NUMBER"),
        ("systemd:domain=INET:index=0:name=web", "write either index=NUMBER"),
        ("systemd:domain=INTE:index=0", "did you mean 'INET'"),
        ("systemd:index=0", "allowed: INET, INET6, UNIX"),
        ("systemd:domain=INET:index=x", "x"),
        ("systemd:domain=INET:idx=0", "has no 'idx'"),
        ("systemd:web", "'web' is not WORD=VALUE"),
    ],
)
def test_systemd_endpoints_are_checked(endpoint: str, words: str) -> None:
    (mistake,) = mistakes(FRONT.replace("tcp:1", endpoint) + BACK)
    assert words in str(mistake)


def test_port_zero_may_be_used_twice() -> None:
    assert mistakes(FRONT.replace("tcp:1", "tcp:0\n  tcp:0") + BACK) == ()


def test_variables_and_includes_reach_the_model() -> None:
    config = build(
        "include = more.ini\n[frontend f]\nlisten = tcp:${PORT:-81}\nbackend = b\n",
        files=files({"/etc/lb/more.ini": BACK + "  c ${HOST}:80\n"}),
        env={"HOST": "10.9.9.9"},
    )
    assert config.frontends[0].listen[0].address == Address("tcp", "", 81)
    assert config.backends[0].servers[1].target.address.host == "10.9.9.9"
    assert config.backends[0].where.file == "/etc/lb/more.ini"


def test_a_variable_cannot_add_lines() -> None:
    text = FRONT + BACK + "host_header = ${X}\n"
    config = build(text, env={"X": "a\nmode = tcp"})
    assert config.backends[0].host_header == "a\nmode = tcp"
    assert config.backends[0].mode == "http"


def test_load_reads_files(tmp_path: Path) -> None:
    path = tmp_path / "lb.ini"
    path.write_text(FRONT + "access_log = x.log\n" + BACK)
    config = load(path, resolve=resolve, env={})
    assert config.frontends[0].access_log == LogSpec(str(tmp_path / "x.log"), "json")
    assert config.file == str(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigErrors, match="not UTF-8"):
        load(path, resolve=resolve)
    with pytest.raises(ConfigErrors, match="No such file"):
        load(tmp_path / "none.ini", resolve=resolve)


def test_disk_globs_in_order(tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / f"{name}.ini").write_text("")
    names = [os.path.basename(p) for p in DISK.glob(str(tmp_path / "*.ini"))]
    assert names == ["a.ini", "b.ini", "c.ini"]


def test_one_server_line() -> None:
    assert parse_server("a 10.0.0.1:80 weight=2").weight == 2
    with pytest.raises(ConfigErrors, match="<server>: servers: unknown option 'wight'"):
        parse_server("a 10.0.0.1:80 wight=2")
    with pytest.raises(ConfigErrors):
        parse_server("")


LINES = st.sampled_from([*FULL.splitlines(), *TEN.splitlines(), "include = x", " ", "\0", "["])


@given(st.text() | st.lists(LINES | st.text(max_size=20), max_size=30).map("\n".join))
@example("[frontend f]\nlisten = tcp:1:interface=\\")
@example("[frontend f]\nlisten = unix:\0")
@example("include = \0\n")
def test_any_text_is_a_configuration_or_errors(text: str) -> None:
    try:
        assert isinstance(build(text), Config)
    except ConfigErrors as errors:
        assert errors.errors
        assert all("\n" not in str(error) for error in errors.errors)


@given(st.integers(0, len(FULL.splitlines()) - 1), st.text(max_size=12), st.integers(0, 60))
def test_a_damaged_line_is_a_configuration_or_errors(line: int, noise: str, at: int) -> None:
    lines = FULL.splitlines()
    lines[line] = lines[line][:at] + noise + lines[line][at:]
    mistakes("\n".join(lines))


def log_errors(line: str, more: str = "") -> list[str]:
    text = f"[lbproxy]\naccess_log = {line}\n[frontend w]\nlisten = tcp:80\nbackend = app\n{more}"
    text += "[backend app]\nservers = a 10.0.0.1:80\n"
    with pytest.raises(ConfigErrors) as caught:
        build(text)
    return [str(error) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.log json sample=5", "sample: '5' is not a share: write 20% or 0.5%"),
        ("a.log json sample=101%", "sample: 101% is out of bounds; it must be between 0% and 100%"),
        ("a.log sampel=5%", "unknown option 'sampel'; allowed: sample, min_time"),
        ("stdout json rotate_size=1m", "option 'rotate_size' is only for a log that goes to a "
            "file"),
        ("a.log json facility=local1", "option 'facility' is only for a log that goes to syslog"),
        ("syslog:udp:10.0.0.1 json facility=local9", "facility: 'local9' is not a choice"),
        ("syslog:tls:10.0.0.1:514", "'syslog:tls:10.0.0.1:514' is not a syslog server"),
        ("syslog:unix:log", "'syslog:unix:log': the path of a Unix socket must be absolute"),
        ("syslog:udp:10.0.0.1:99999", "'99999' is not a port"),
        ("a.log json more", "write PATH, stdout, syslog:... or off"),
        ("sample=5%", "write PATH, stdout, syslog:... or off"),
    ],
)  # fmt: skip
def test_log_options_that_are_wrong(line: str, expected: str) -> None:
    (error,) = log_errors(line)
    assert error.startswith("lb.ini:2: [lbproxy] access_log: " + expected), error


def test_log_options() -> None:
    text = FULL.replace(
        "access_log = logs/access.log json",
        "access_log = syslog:tcp:logs.internal combined sample=0.5% min_time=250ms facility=daemon "
        "tag=edge",
    )
    config = build(text)
    assert config.settings.access_log == LogSpec(
        "syslog:tcp:logs.internal",
        "combined",
        sample=0.005,
        min_time=0.25,
        facility="daemon",
        tag="edge",
    )
    assert syslog_address("syslog:tcp:logs.internal") == (
        "tcp",
        Address("tcp", "logs.internal", 601),
    )
    assert syslog_address("syslog:udp:[::1]") == ("udp", Address("tcp", "::1", 514))
    assert syslog_address("syslog:udp:[::1]:99") == ("udp", Address("tcp", "::1", 99))


def test_one_place_is_written_in_one_way() -> None:
    errors = log_errors(
        "a.log json rotate_size=1m keep=3", "access_log = a.log combined rotate_size=1m keep=4\n"
    )
    assert errors == [
        "lb.ini:6: [frontend w] access_log: keep differs from that at lb.ini:2, "
        "which has the same destination"
    ]


NO_SUCH = files(exists=lambda path: "no/such" not in path)
ALERTS_WRONG = [
    ("rules = eror_ratio off", "rules: there is no alert 'eror_ratio'"),
    ("rules = error_ratio limit=5", "rules: limit: '5' is not a share"),
    ("rules = backend_empty limit=5", "rules: 'backend_empty' has no limit"),
    ("rules =\n    queue off\n    queue off", "rules: rule 'queue' is "
        "already defined, at lb.ini:3"),
    ("rules = queue after=x", "rules: after: 'x' is not a duration"),
    ("webhooks = ftp://example.com/", "webhooks: a URL has the scheme http or https"),
    ("webhooks = https://", "webhooks: a URL has the scheme http or https"),
    ("webhooks = https://[::1", "webhooks: a URL has the scheme http or https"),
    ("webhooks = https://a/ format=teams", "webhooks: format: 'teams' is not a choice"),
    ("mails = ops", "mails: 'ops' is not a mail address"),
    ("mails = a@b.c user=x", "mails: a login needs tls=always"),
    ("mails = a@b.c server=unix:/x", "mails: the server must be a host and a port"),
    ("commands = page me", "commands: 'page' is not an absolute path"),
    ("commands = /no/such/page", "commands: no such file: /no/such/page"),
    ("quiet = 22-06", "quiet: '22-06' is not a time of the day: write 22:00-06:00"),
    ("quiet = 25:00-06:00", "quiet: '25:00-06:00' is not a time of the day"),
    ("most = 0", "most: 0 is out of bounds"),
    ("webhook = https://a/", "webhook: unknown key 'webhook'"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "expected"), ALERTS_WRONG)
def test_alerts_that_are_wrong(lines: str, expected: str) -> None:
    errors = [str(one) for one in mistakes(f"[alerts]\n{lines}\n" + MINIMAL, files=NO_SUCH)]
    assert any(expected in error for error in errors), errors
    assert len(errors) == 1


def test_alerts_take_no_name() -> None:
    assert "takes no name" in str(mistakes("[alerts x]\n" + MINIMAL))


def test_secrets_are_masked_where_a_configuration_is_shown() -> None:
    from lbproxy.config.dump import as_json

    text = (
        "[alerts]\nwebhooks = https://a.example/hidden token=hush\n"
        "mails = a@b.c tls=always user=me password=hush\n"
    )
    config = build(text + MINIMAL)
    assert config.alerts.on and config.alerts.webhooks[0].token == "hush"
    shown = str(as_json(config, mask=True))
    assert "hush" not in shown and "hidden" not in shown and "***" in shown
    assert not build(MINIMAL).alerts.on
