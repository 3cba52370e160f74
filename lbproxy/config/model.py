"""PURE. The configuration as frozen objects: the single source of names, types, defaults, bounds and texts.

Each class below is one section or one line of ``lb.ini``.  The metadata of its fields drive parsing and
validation (:mod:`lbproxy.config.build`), the generated reference (:mod:`lbproxy.config.reference`), ``lbproxy
check`` and ``lbproxy explain``.  Durations are float seconds, sizes are int bytes.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal

import attrs
from attrs import field, frozen

__all__ = [
    "Address",
    "AdminSpec",
    "AgentSpec",
    "AlertsSpec",
    "BackendSpec",
    "CertificateSpec",
    "CheckSpec",
    "CommandSpec",
    "Config",
    "FrontendSpec",
    "GlobalSpec",
    "ListenSpec",
    "LogSpec",
    "MailSpec",
    "MirrorSpec",
    "PassiveSpec",
    "PluginSpec",
    "RebalanceSpec",
    "RouteSpec",
    "RuleSpec",
    "ServerSpec",
    "WebhookSpec",
    "Where",
    "option",
]

Network = IPv4Network | IPv6Network
Mode = Literal["tcp", "http"]


def option(kind: str, default: Any = attrs.NOTHING, *, doc: str, **facts: Any) -> Any:
    """A configuration key or option word.

    ``kind`` names a parser in :mod:`lbproxy.config.units` (``int``, ``duration``, ``size``, ``bool``, ``string``,
    ``choice``, ``list:KIND`` ...).  ``facts`` may hold ``min``, ``max`` (inclusive), ``choices``, ``example``,
    ``positional`` (True: the word stands without ``key=``; ``"rest"``: all remaining words, as a tuple),
    ``http_only`` (refused in tcp mode), ``restart`` (a reload cannot change it) and ``secret`` (masked where the
    configuration is shown to others).
    Extension authors use it in their ``Options`` classes.
    """
    metadata = {"kind": kind, "doc": doc, **facts}
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return field(default=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def hidden(default: Any = attrs.NOTHING) -> Any:
    """A field the loader fills in itself; not a key."""
    return field(default=default, metadata={"kind": "hidden"}, eq=False, repr=False)


@frozen
class Where:
    """A place in a configuration text; ``line`` counts from 1, 0 where there is none."""

    file: str = "<text>"
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Where()


@frozen
class Address:
    """Where a socket is: ``tcp`` with host and port, or ``unix`` with a path.

    ``host`` is an IPv4/IPv6 literal without brackets, a name still to be resolved, or "" for every interface.
    """

    kind: Literal["tcp", "unix"]
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@frozen
class PluginSpec:
    """``NAME words key=value``: a balancer, check or filter, resolved to its class and its parsed Options."""

    name: str
    cls: Any
    options: Any
    where: Where = hidden(NOWHERE)


@frozen
class ListenSpec:
    """One line of ``listen``: ``tcp:PORT[:interface=IP]``, ``tls:...``, ``unix:PATH``, ``systemd:...``,
    ``HOST:PORT``, or any other Twisted server endpoint string; then options."""

    address: Address | None = option(
        "hidden", None, doc="parsed from the first word; None for systemd and plugin endpoints"
    )
    endpoint: str = option("endpoint", "", doc="the address as written", positional=True)
    tls: bool = option("hidden", False, doc="the endpoint began with tls:")
    certificates: tuple[str, ...] = option(
        "list:string",
        (),
        doc="names of [certificate] sections, PEM files or folders; comma separated",
        example="certs/",
    )
    min_version: str = option(
        "choice", "1.2", choices=("1.2", "1.3"), doc="lowest TLS version accepted"
    )
    ciphers: str = option(
        "string", "", doc="OpenSSL cipher list for TLS 1.2; empty: a strong default"
    )
    alpn: tuple[str, ...] = option(
        "list:string",
        (),
        doc="protocols offered, best first; empty: http/1.1 in http mode, none in tcp mode",
    )
    accept_proxy: tuple[Network, ...] = option(
        "list:network",
        (),
        doc="expect a PROXY protocol header (v1 or v2) from these peers; others are served as they are",
        example="10.0.0.0/8",
    )
    backlog: int = option(
        "int", 1024, min=1, max=65535, doc="connections the kernel may hold before we accept them"
    )
    mode: int = option("octal", 0o660, doc="permissions of a unix socket")
    where: Where = hidden(NOWHERE)


@frozen
class RouteSpec:
    """One line of ``routes``: conditions that must all hold, ``->``, a backend or an action.

    ``conditions`` are (verb, arguments, negated) in the order written; ``default`` has none.  ``action`` is a filter
    (redirect, reply) when the right side is one, else None and ``backend`` names a backend.  ``priority``: the
    class in the backend's queue, lower ones first.
    """

    conditions: tuple[tuple[str, tuple[str, ...], bool], ...] = ()
    backend: str = ""
    action: PluginSpec | None = None
    text: str = ""
    where: Where = hidden(NOWHERE)
    priority: int = 0


@frozen
class LogSpec:
    """``access_log = TARGET  json|common|combined|"custom format"  options``.

    ``path`` is "stdout", ``syslog:TRANSPORT:ADDRESS`` (see :func:`lbproxy.config.lines.syslog_address`), a file,
    or "" for no log (``off``).
    """

    path: str = option("hidden", "", doc="where lines go")
    format: str = option("hidden", "json", doc="what is in a line")
    sample: float = option(
        "percent",
        1.0,
        min=0.0,
        max=1.0,
        doc="part of the requests that is logged; errors always are",
    )
    min_time: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc="log only what took at least this long; errors always are",
    )
    rotate_size: int = option(
        "size",
        0,
        min=0,
        max=1 << 50,
        doc="begin a new file when the file is this large; 0: never",
        example="100m",
    )
    rotate_every: float = option(
        "duration",
        0.0,
        min=0.0,
        max=366 * 86400,
        doc="begin a new file when this time is over (1d: at midnight UTC); 0: never",
    )
    keep: int = option("int", 10, min=0, max=10_000, doc="how many old files are kept")
    facility: str = option(
        "choice",
        "local0",
        choices=(
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
            "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        ),
        doc="syslog facility",
    )  # fmt: skip
    tag: str = option("name", "lbproxy", doc="syslog application name")
    where: Where = hidden(NOWHERE)


@frozen
class AdminSpec:
    """One line of ``admin``: ``tcp:PORT:interface=IP``, ``tls:PORT...``, ``unix:PATH`` or ``IP:PORT``; then options."""

    address: Address | None = option("hidden", None, doc="parsed from the first word")
    endpoint: str = option("endpoint", "", doc="the address as written", positional=True)
    tls: bool = option("hidden", False, doc="the endpoint began with tls:")
    role: str = option(
        "choice",
        "write",
        choices=("read", "write"),
        doc="the most anybody may do who comes this way: look, or change things too",
    )
    mode: int = option(
        "octal", 0o600, doc="permissions of a unix socket, which are all it asks for"
    )
    certificates: tuple[str, ...] = option(
        "list:string",
        (),
        doc="for ``tls:``, names of [certificate] sections, PEM files or folders; comma separated",
        example="certs/admin.pem",
    )
    client_ca: str = option(
        "path",
        "",
        doc="for ``tls:``, PEM file of authorities; who has a certificate of theirs needs no token, and nobody "
        "else is let in",
    )
    backlog: int = option("hidden", 64, doc="connections the kernel may hold before we accept them")
    where: Where = hidden(NOWHERE)


@frozen
class CertificateSpec:
    """``[certificate NAME]``: one key pair."""

    name: str = option("hidden", doc="section name")
    certificate: str = option(
        "path", doc="PEM file: certificate, then the chain", example="certs/site.pem"
    )
    key: str = option("path", "", doc="PEM file of the private key; empty: in the certificate file")
    hosts: tuple[str, ...] = option(
        "list:string", (), doc="server names it is used for; empty: the names in the certificate"
    )
    where: Where = hidden(NOWHERE)


@frozen
class ServerSpec:
    """One line of ``servers``: ``NAME HOST:PORT|unix:PATH`` and options."""

    name: str = option(
        "name", doc="unique in the backend; seen in logs and metrics", positional=True
    )
    address: Address = option("address", doc="where traffic goes", positional=True)
    weight: int = option("int", 1, min=0, max=1_000_000, doc="share of the traffic; 0: none")
    backup: bool = option("flag", False, doc="used only when no other server is up")
    tier: int = option(
        "int",
        0,
        min=0,
        max=100,
        doc="servers of a higher tier are used only when no server of a lower one is up;"
        " ``backup`` comes after all tiers",
    )
    maxconn: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        doc="most concurrent connections (TCP) or requests (HTTP); 0: no limit",
    )
    check_address: Address | None = option(
        "address", None, doc="where the health check goes, if not to the address itself"
    )
    agent_address: Address | None = option(
        "address", None, doc="where its agent listens, if not at the port of ``agent``"
    )
    no_check: bool = option("flag", False, doc="do not check; always taken as up")
    tls: bool = option(
        "flag", False, doc="speak TLS to the server, verified against its name or IP address"
    )
    ca: str = option(
        "path", "", doc="PEM file or folder of trusted authorities; empty: the system's"
    )
    verify: bool = option(
        "bool", True, doc="verify the server's certificate; ``no`` is for tests only"
    )
    sni: str = option("string", "", doc="name sent and verified; empty: the host in the address")
    certificate: str = option(
        "string", "", doc="client certificate: the name of a [certificate] section"
    )
    send_proxy: str = option(
        "choice", "", choices=("v1", "v2"), doc="begin each connection with a PROXY protocol header"
    )
    where: Where = hidden(NOWHERE)


@frozen
class CheckSpec:
    """``check = KIND options every=...``: the probe and the rise/fall machine around it."""

    probe: PluginSpec = option("hidden", None, doc="tcp, http, ...")
    every: float = option(
        "duration", 2.0, min=0.05, max=86400, doc="interval while the server is up"
    )
    fast: float = option(
        "duration", 0.0, min=0.0, max=86400, doc="interval while it is between states; 0: as every"
    )
    down: float = option(
        "duration", 0.0, min=0.0, max=86400, doc="interval while it is down; 0: as every"
    )
    timeout: float = option(
        "duration", 1.0, min=0.01, max=3600, doc="a check that takes longer has failed"
    )
    rise: int = option("int", 2, min=1, max=1000, doc="successes in a row that bring a server up")
    fall: int = option("int", 3, min=1, max=1000, doc="failures in a row that take it down")
    initial: str = option(
        "choice",
        "up",
        choices=("up", "down"),
        doc="what a server is taken for until its first check, which decides alone",
    )
    port: int = option(
        "int",
        0,
        min=0,
        max=65535,
        doc="another port of the server's address; 0: traffic's. A server's check_address goes first",
    )
    tls: bool = option("flag", False, doc="speak TLS in the check even if traffic does not")
    no_tls: bool = option(
        "flag", False, doc="check in the clear even if the server's line says tls"
    )
    sni: str = option(
        "string", "", doc="name sent and verified in the check's TLS; empty: as for traffic"
    )
    ca: str = option(
        "path",
        "",
        doc="PEM file or folder of authorities the check trusts; empty: as for traffic",
    )
    verify: bool | None = option(
        "bool", None, doc="verify the certificate in the check; none: as for traffic"
    )
    where: Where = hidden(NOWHERE)


@frozen
class PassiveSpec:
    """``passive = errors=5 eject=10s ...``: servers judged by the traffic they get."""

    errors: int = option(
        "int", 5, min=0, max=10_000, doc="failures in a row that eject a server; 0: not judged so"
    )
    count: tuple[str, ...] = option(
        "list:choice",
        ("connect", "reset", "timeout", "junk", "5xx"),
        choices=("connect", "reset", "timeout", "junk", "5xx"),
        doc="what counts as a failure, with commas; 501 and 505 never do",
        example="connect,reset",
    )
    eject: float = option(
        "duration",
        10.0,
        min=0.1,
        max=86400,
        doc="length of the first ejection; the n-th in a row is n times as long",
    )
    eject_max: float = option(
        "duration", 300.0, min=0.1, max=86400, doc="an ejection is never longer than this"
    )
    max_ejected: float = option(
        "percent",
        0.5,
        min=0.0,
        max=1.0,
        doc="an ejection never leaves more than this share of a tier's servers out of use",
    )
    success_rate: bool = option(
        "flag", False, doc="eject a server that succeeds clearly less often than the others"
    )
    stdev: float = option(
        "float",
        1.9,
        min=0.1,
        max=100.0,
        doc="``success_rate``: how many standard deviations below the others' mean is too low",
    )
    latency: float = option(
        "times",
        0.0,
        min=0.0,
        max=1000.0,
        doc="eject a server whose mean response time is above this multiple of the others'"
        " median; 0: not judged so",
        example="3x",
    )
    latency_min: float = option(
        "duration",
        0.01,
        min=0.0,
        max=3600,
        doc="``latency``: and slower than the others' median by at least this",
    )
    every: float = option(
        "duration",
        10.0,
        min=0.5,
        max=3600,
        doc="how often ``success_rate`` and ``latency`` are looked at, over the time since",
    )
    min_servers: int = option(
        "int", 3, min=2, max=10_000, doc="fewest servers with ``min_requests`` to compare"
    )
    min_requests: int = option(
        "int",
        100,
        min=1,
        max=1_000_000_000,
        doc="fewest requests of a server within ``every`` to judge it by",
    )
    where: Where = hidden(NOWHERE)

    def __attrs_post_init__(self) -> None:
        if self.eject_max < self.eject:
            raise ValueError("eject_max must not be shorter than eject")
        if not (self.errors or self.success_rate or self.latency):
            raise ValueError("nothing to judge by: set errors, success_rate or latency")


@frozen
class AgentSpec:
    """``agent = PORT options``: programs beside the servers that say how much work they want."""

    port: int = option(
        "int",
        min=1,
        max=65535,
        doc="port of each server's address that its agent listens on, in the clear",
        positional=True,
        example="9707",
    )
    every: float = option("duration", 2.0, min=0.05, max=86400, doc="how often an agent is asked")
    timeout: float = option(
        "duration", 1.0, min=0.01, max=3600, doc="an agent that takes longer says nothing"
    )
    send: str = option(
        "string",
        "",
        doc=r"text that is sent to it first; ``\n`` inside double quotes ends a line",
        example=r"hello\n",
    )
    where: Where = hidden(NOWHERE)


@frozen
class MirrorSpec:
    """``mirror = BACKEND options``: copies of requests for another backend.  ``judge``: the predicate, loaded."""

    backend: str = option("backend", doc="where the copies go; in http mode", positional=True)
    share: float = option(
        "percent", 1.0, min=0.0, max=1.0, doc="how many of the requests are copied"
    )
    methods: tuple[str, ...] = option(
        "list:string",
        ("GET", "HEAD", "OPTIONS"),
        doc="which methods are copied; one that changes something will change it twice",
    )
    body: int = option(
        "size",
        64 * 1024,
        min=0,
        max=16 * 1024 * 1024,
        doc="longest request body that is copied; no longer than ``retry_buffer``",
    )
    timeout: float = option(
        "duration", 5.0, min=0.01, max=3600, doc="a copy without a complete answer by then is ended"
    )
    max: int = option(
        "int", 100, min=1, max=100_000, doc="most copies at a time; more are dropped and counted"
    )
    header: str = option(
        "string",
        "",
        doc="a header of this name, with the value 1, marks a copy",
        example="X-Mirror",
    )
    compare: tuple[str, ...] = option(
        "list:choice",
        (),
        choices=("status", "headers", "body"),
        doc="what must be the same in both answers; empty: answers are dropped",
        example="status,body",
    )
    ignore: tuple[str, ...] = option(
        "list:string",
        ("Date", "Age", "Expires", "Server", "Set-Cookie", "X-Request-Id"),
        doc="headers that may differ, besides those that frame the message",
    )
    predicate: str = option(
        "string",
        "",
        doc="a function that gets both answers and says whether they differ",
        example="answers.py:differ",
    )
    judge: Any = hidden(None)
    where: Where = hidden(NOWHERE)

    def __attrs_post_init__(self) -> None:
        for word in (*self.methods, *((self.header,) if self.header else ())):
            if not word or not all(
                c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in word
            ):
                raise ValueError(f"{word!r} is neither a method nor the name of a header")


@frozen
class RebalanceSpec:
    """``rebalance = PROTOCOL options``: long-lived sessions move when servers come, or weights change."""

    protocol: str = option(
        "choice",
        choices=("tcp", "websocket", "mqtt", "amqp", "postgresql"),
        doc="what the sessions speak; it decides when one may be ended, and with which words",
        positional=True,
    )
    rate: float = option("rate", 5.0, min=0.001, max=10_000, doc="most sessions moved in that time")
    idle: float = option(
        "duration",
        1.0,
        min=0.0,
        max=86400,
        doc="only sessions in which nothing has been sent for so long are moved",
    )
    after: float = option(
        "duration", 2.0, min=0.0, max=86400, doc="pause between the change and the first move"
    )
    tolerance: float = option(
        "percent", 0.05, min=0.0, max=1.0, doc="how far above its share a server may be"
    )
    where: Where = hidden(NOWHERE)


@frozen
class BackendSpec:
    """``[backend NAME]``: servers and how they are used."""

    name: str = option("hidden", "", doc="section name")
    mode: Mode = option(
        "choice",
        "",
        choices=("tcp", "http"),
        doc="as its frontends; only needed for a backend no frontend names",
    )
    balance: PluginSpec = option(
        "plugin:balancer", None, doc="which server is next", example="leastconn"
    )
    servers: tuple[ServerSpec, ...] = option(
        "servers", (), doc="one per line", example="a 10.0.0.11:8000 weight=3"
    )
    sticky: PluginSpec | None = option(
        "plugin:sticky",
        None,
        doc="keep clients with the server they were with before",
        example="cookie LB",
    )
    mirror: MirrorSpec | None = option(
        "mirror",
        None,
        http_only=True,
        doc="copy requests to another backend, and compare the answers if asked",
        example="next share=10% compare=status,body",
    )
    check: CheckSpec | None = option(
        "check",
        None,
        doc="active health check; none: servers are taken as up",
        example="http GET /healthz expect=200",
    )
    passive: PassiveSpec | None = option(
        "passive",
        None,
        doc="eject servers by how traffic fares with them; none: they are not judged so",
        example="errors=5 eject=10s max_ejected=50%",
    )
    panic: float = option(
        "percent",
        0.0,
        min=0.0,
        max=1.0,
        doc="when less than this share of a tier is up, health is ignored; 0: never",
        example="30%",
    )
    slow_start: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc="a server that comes up reaches its full weight in this time, beginning with a tenth; 0: at once",
        example="30s",
    )
    rebalance: RebalanceSpec | None = option(
        "rebalance",
        None,
        doc="move long-lived sessions to servers that come or get more weight; none: they stay where they are",
        example="websocket rate=5/s idle=5s",
    )
    agent: AgentSpec | None = option(
        "agent",
        None,
        doc="ask a program beside each server how much work it wants",
        example="9707 every=2s",
    )
    on_down: str = option(
        "choice",
        "keep",
        choices=("keep", "close"),
        doc="what happens to sessions of a server that goes down",
    )
    filters: tuple[PluginSpec, ...] = option(
        "plugins:filter", (), doc="filters for traffic to this backend, in order"
    )
    retries: int = option(
        "int",
        2,
        min=0,
        max=100,
        doc="further attempts after the first, each at another server where possible",
    )
    retry_on: tuple[str, ...] = option(
        "list:retry",
        ("connect", "reset"),
        http_only=True,
        doc="what makes a further attempt, if the request can be sent again",
        example="connect reset timeout 502 503 504",
    )
    retry_backoff: float = option(
        "duration",
        0.0,
        min=0.0,
        max=60,
        doc="longest pause before the first further attempt at another server, doubled each time up to"
        " ten times this; the pause is drawn at random between 0 and that",
    )
    timeout_retries: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc="no further attempt begins later than this after the request, or the tcp connection, came;"
        " 0: no limit",
    )
    max_retries: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        doc="most requests in a further attempt at once; 0: no limit",
    )
    retry_budget: float = option(
        "percent",
        0.0,
        min=0.0,
        max=1.0,
        doc="most further attempts, as a share of the requests of the last 10 s; 0: no limit",
        example="20%",
    )
    retry_floor: float = option(
        "rate",
        10.0,
        min=0.0,
        max=1_000_000,
        doc="further attempts that ``retry_budget`` allows however few requests there are",
    )
    hedge: float = option(
        "duration",
        0.0,
        min=0.0,
        max=3600,
        http_only=True,
        doc="an idempotent request that has no response head after this goes to a second server too, and the first"
        " head wins; 0: never",
        example="200ms",
    )
    hedge_share: float = option(
        "percent",
        0.1,
        min=0.001,
        max=1.0,
        http_only=True,
        doc="most second attempts by ``hedge``, as a share of the requests of the last 10 s",
        example="5%",
    )
    maxconn: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        doc="most connections (TCP) or requests (HTTP) at all servers together, those that wait included;"
        " over it 503 at once; 0: no limit",
    )
    queue: int = option(
        "int",
        1024,
        min=0,
        max=1_000_000,
        doc="requests that may wait while every server is at its maxconn; 0: none",
    )
    timeout_queue: float = option(
        "duration", 5.0, min=0.01, max=3600, doc="longest wait in the queue"
    )
    no_server: str = option(
        "choice",
        "fail",
        choices=("fail", "queue"),
        doc="what new traffic does while no server is up: ``fail`` at once, or wait in the queue",
    )
    timeout_connect: float = option(
        "duration",
        5.0,
        min=0.01,
        max=3600,
        doc="longest wait for a connection, TLS handshake included",
    )
    timeout_response: float = option(
        "duration",
        60.0,
        min=0.01,
        max=86400,
        http_only=True,
        doc="longest wait for the response head once the request is sent",
    )
    timeout_server: float = option(
        "duration",
        0.0,
        min=0.0,
        max=864000,
        doc="longest silence of a server; 0: 60 s in mid answer (http), 1 h (tcp)",
    )
    timeout_tunnel: float = option(
        "duration",
        3600.0,
        min=0.01,
        max=864000,
        http_only=True,
        doc="longest silence of a WebSocket or CONNECT tunnel",
    )
    pool_size: int = option(
        "int",
        256,
        min=0,
        max=100_000,
        http_only=True,
        doc="idle connections kept per server; 0: a new one for each request",
    )
    pool_min: int = option(
        "int",
        0,
        min=0,
        max=10_000,
        http_only=True,
        doc="idle connections made ahead and kept to each server that is up; at most ``pool_size``; 0: none",
        example="4",
    )
    pool_idle: float = option(
        "duration",
        30.0,
        min=0.1,
        max=86400,
        http_only=True,
        doc="an idle connection is closed after this long",
    )
    pool_requests: int = option(
        "int",
        0,
        min=0,
        max=1_000_000_000,
        http_only=True,
        doc="requests after which a connection is not used again; 0: no limit",
    )
    retry_buffer: int = option(
        "size",
        64 * 1024,
        min=0,
        max=16 * 1024 * 1024,
        http_only=True,
        doc="body bytes kept so that a request can be sent again",
    )
    max_response_header_bytes: int = option(
        "size", 64 * 1024, min=1024, max=1024 * 1024, http_only=True, doc="largest response head"
    )
    host_header: str = option(
        "string", "", http_only=True, doc="Host sent to servers; empty: the client's"
    )
    resolve_every: float = option(
        "duration", 30.0, min=1.0, max=86400, doc="how often server names are looked up again"
    )
    where: Where = hidden(NOWHERE)


@frozen
class FrontendSpec:
    """``[frontend NAME]``: listeners, rules and routes."""

    name: str = option("hidden", "", doc="section name")
    mode: Mode = option(
        "choice", "http", choices=("tcp", "http"), doc="tcp passes bytes, http understands them"
    )
    listen: tuple[ListenSpec, ...] = option(
        "listens", (), doc="addresses, one per line", example="tcp:8080"
    )
    routes: tuple[RouteSpec, ...] = option(
        "routes", (), doc="first match wins, one per line", example="host api.example.com -> api"
    )
    backend: str = option(
        "backend", "", doc="where traffic goes that no route takes", example="app"
    )
    filters: tuple[PluginSpec, ...] = option(
        "plugins:filter",
        (),
        doc="filters, in order",
        example="set-header response X-Served-By lbproxy",
    )
    access_log: LogSpec | None = option("log", None, doc="overrides the one in [lbproxy]")
    maxconn: int = option(
        "int", 0, min=0, max=10_000_000, doc="most client connections; 0: no limit of its own"
    )
    maxconn_per_ip: int = option(
        "int", 0, min=0, max=10_000_000, doc="most client connections from one address; 0: no limit"
    )
    allow: tuple[Network, ...] = option(
        "list:network",
        (),
        doc="only these clients; empty: everybody",
        example="10.0.0.0/8 2001:db8::/32",
    )
    deny: tuple[Network, ...] = option(
        "list:network", (), doc="never these clients; looked at before allow"
    )
    trusted_proxies: tuple[Network, ...] = option(
        "list:network",
        (),
        http_only=True,
        doc="peers whose X-Forwarded-For and Forwarded are believed",
    )
    forwarded: tuple[str, ...] = option(
        "list:choice",
        ("x-forwarded",),
        choices=("x-forwarded", "rfc7239", "none"),
        http_only=True,
        doc="which headers tell servers about the client",
    )
    via: str = option(
        "string",
        "lbproxy",
        http_only=True,
        doc="our name in Via, both ways; ``none`` leaves Via alone",
    )
    server_header: str = option(
        "choice", "pass", choices=("pass", "remove"), http_only=True, doc="the servers' Server line"
    )
    upgrade: str = option(
        "choice",
        "websocket",
        choices=("websocket", "any", "none"),
        http_only=True,
        doc="protocol switches that may pass",
    )
    connect: str = option(
        "choice", "deny", choices=("deny", "forward"), http_only=True, doc="what becomes of CONNECT"
    )
    max_header_bytes: int = option(
        "size",
        32 * 1024,
        min=1024,
        max=1024 * 1024,
        http_only=True,
        doc="largest request head; over it 431",
    )
    max_headers: int = option(
        "int", 100, min=1, max=10_000, http_only=True, doc="most header lines; over it 431"
    )
    max_url: int = option(
        "size",
        8 * 1024,
        min=64,
        max=256 * 1024,
        http_only=True,
        doc="longest request target; over it 414",
    )
    max_body: int | None = option(
        "size_or_none",
        None,
        http_only=True,
        doc="largest request body; over it 413; ``none``: no limit",
    )
    max_requests: int = option(
        "int",
        0,
        min=0,
        max=1_000_000_000,
        http_only=True,
        doc="requests on one client connection before it is closed; 0: no limit",
    )
    timeout_handshake: float = option(
        "duration",
        10.0,
        min=0.1,
        max=600,
        doc="TLS handshake, PROXY header and ClientHello must be complete in this time",
    )
    timeout_header: float = option(
        "duration",
        10.0,
        min=0.1,
        max=3600,
        http_only=True,
        doc="request head must be complete this long after its first byte; over it 408",
    )
    timeout_body: float = option(
        "duration",
        30.0,
        min=0.1,
        max=3600,
        http_only=True,
        doc="longest silence inside a request body; over it 408",
    )
    timeout_keepalive: float = option(
        "duration",
        60.0,
        min=0.0,
        max=3600,
        http_only=True,
        doc="longest wait for the next request; 0: no keep-alive",
    )
    timeout_client: float = option(
        "duration",
        0.0,
        min=0.0,
        max=864000,
        doc="longest silence of a client that we wait for or write to; 0: 60 s (http), 1 h (tcp)",
    )
    timeout_filter: float = option(
        "duration",
        5.0,
        min=0.01,
        max=3600,
        doc="longest time an asynchronous filter may hold traffic",
    )
    where: Where = hidden(NOWHERE)


@frozen
class GlobalSpec:
    """``[lbproxy]``: the process."""

    access_log: LogSpec = option(
        "log",
        LogSpec(),
        doc="where and how requests and sessions are logged",
        example="access.log json",
    )
    maxconn: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        doc="most client connections in all; 0: half of the descriptors the process may open",
    )
    transport: Literal["auto", "epoll", "twisted"] = option(
        "choice",
        "auto",
        choices=("auto", "epoll", "twisted"),
        restart=True,
        doc="what moves the bytes: our epoll transport or Twisted's own; "
        "``auto`` takes epoll where the system has it; a change needs a restart",
    )
    workers: int = option(
        "workers",
        1,
        min=1,
        max=1024,
        restart=True,
        doc="processes that serve; ``cpu``: one for each processor",
    )
    watch: bool = option(
        "bool",
        False,
        doc="reload by itself when the file, one that it includes or a plugin's .py file changes",
    )
    timeout_drain: float = option(
        "duration",
        30.0,
        min=0.0,
        max=86400,
        doc="how long sessions of frontends, backends and servers that a reload removes may go on",
    )
    secret: str = option(
        "secret",
        "",
        doc="signs what clients keep for us, such as sticky cookies; empty: random, so that a restart voids them",
        example="file:/etc/lbproxy/secret",
    )
    timeout_shutdown: float = option(
        "duration", 10.0, min=0.0, max=86400, doc="how long sessions may finish when lbproxy stops"
    )
    admin: tuple[AdminSpec, ...] = option(
        "admins",
        (),
        doc="where the admin API, the metrics and the dashboard are, one address per line; none: nowhere",
        example="tcp:8404:interface=127.0.0.1",
    )
    admin_tokens: str = option(
        "path",
        "",
        doc="file with a line ``ROLE NAME TOKEN`` for each who may use the admin API; without it only loopback, unix "
        "sockets and client certificates can be used",
    )
    admin_hosts: tuple[str, ...] = option(
        "list:string",
        (),
        doc="names in ``Host`` that are answered without a token, besides localhost and IP addresses",
        example="lb.internal",
    )
    state: str = option(
        "path",
        "",
        doc="file that keeps what is changed at run time (weights, drains, servers added and removed) over a restart",
        example="lbproxy.state.json",
        restart=True,
    )
    metrics_servers: bool = option(
        "bool",
        True,
        doc="metrics of each server; ``no`` leaves those of frontends and backends, for very many servers",
    )
    where: Where = hidden(NOWHERE)


@frozen
class RuleSpec:
    """One line of ``rules``: ``NAME`` and what is other than usual; see ``docs/runbook.rst`` for the names."""

    name: str = option("name", doc="of the alert", positional=True)
    off: bool = option("flag", False, doc="do not look")
    limit: str = option(
        "string", "", doc="where it begins, in the unit of the rule; empty: the rule's own"
    )
    after: float | None = option(
        "duration",
        None,
        min=0,
        max=86400,
        doc="how long it must have been so; none: the rule's own",
    )
    volume: int | None = option(
        "int",
        None,
        min=0,
        max=1_000_000_000,
        doc="fewest requests to judge by; none: the rule's own",
    )
    where: Where = hidden(NOWHERE)


@frozen
class WebhookSpec:
    """One line of ``webhooks``: ``URL`` and options."""

    url: str = option(
        "string", secret=True, doc="where alerts are POSTed, http or https", positional=True
    )
    format: str = option(
        "choice",
        "json",
        choices=("json", "slack"),
        doc="all facts, or one ``text`` as chats want it",
    )
    timeout: float = option("duration", 10.0, min=0.1, max=300, doc="for one try")
    retries: int = option("int", 3, min=0, max=20, doc="further tries, after 1, 2, 4 ... seconds")
    token: str = option(
        "string",
        "",
        secret=True,
        doc="sent as ``Authorization: Bearer``; take it from ``${ENVIRONMENT}``",
    )
    where: Where = hidden(NOWHERE)


@frozen
class MailSpec:
    """One line of ``mails``: ``ADDRESS...`` and options."""

    to: tuple[str, ...] = option("list:string", doc="to whom", positional="rest")
    sender: str = option("string", "lbproxy@localhost", doc="from whom")
    server: Address = option(
        "address", Address("tcp", "localhost", 25), doc="the SMTP server that takes it"
    )
    tls: str = option(
        "choice", "auto", choices=("auto", "always", "never"),
        doc="STARTTLS: if the server has it, always with its certificate verified, or never",
    )  # fmt: skip
    user: str = option("string", "", doc="login name; needs tls=always")
    password: str = option("string", "", secret=True, doc="take it from ``${ENVIRONMENT}``")
    timeout: float = option("duration", 30.0, min=0.1, max=300, doc="for one try")
    retries: int = option("int", 3, min=0, max=20, doc="further tries, after 1, 2, 4 ... seconds")
    where: Where = hidden(NOWHERE)


@frozen
class CommandSpec:
    """One line of ``commands``: ``PROGRAM ARGUMENT...`` and options; no shell is involved."""

    argv: tuple[str, ...] = option(
        "list:string", doc="the program's path, then words", positional="rest"
    )
    timeout: float = option("duration", 10.0, min=0.1, max=300, doc="it is killed after this")
    where: Where = hidden(NOWHERE)


@frozen
class AlertsSpec:
    """``[alerts]``: when operators are told, and how.  ``on``: the section is there."""

    on: bool = option("hidden", False, doc="the section is there")
    webhooks: tuple[WebhookSpec, ...] = option(
        "lines:webhook",
        (),
        doc="URLs that get a POST, one per line",
        example="https://hooks.example.com/lb",
    )
    mails: tuple[MailSpec, ...] = option(
        "lines:mail", (), doc="mail addresses, one line for each mail", example="ops@example.com"
    )
    commands: tuple[CommandSpec, ...] = option(
        "lines:command",
        (),
        doc="programs that are run, one per line",
        example="/usr/local/bin/page lbproxy",
    )
    rules: tuple[RuleSpec, ...] = option(
        "lines:rule",
        (),
        doc="what differs from the usual rules, one per line",
        example="error_ratio limit=1%",
    )
    quiet: tuple[str, ...] = option(
        "list:span",
        (),
        doc="times in which warnings wait, local time; errors do not",
        example="22:00-06:00",
    )
    repeat: float = option(
        "duration",
        4 * 3600.0,
        min=0,
        max=366 * 86400,
        doc="an alert that lasts is told again after this; 0: never",
    )
    recovery: bool = option("bool", True, doc="tell when it is over")
    most: int = option(
        "int", 10, min=1, max=1000, doc="notices a minute; what is over goes into the next one"
    )
    where: Where = hidden(NOWHERE)


@frozen
class Config:
    """A whole configuration, checked: every reference leads somewhere."""

    settings: GlobalSpec = GlobalSpec()
    frontends: tuple[FrontendSpec, ...] = ()
    backends: tuple[BackendSpec, ...] = ()
    certificates: tuple[CertificateSpec, ...] = ()
    alerts: AlertsSpec = AlertsSpec()
    file: str = hidden("<text>")
    sources: tuple[str, ...] = hidden(())
    """What it was read from: files and glob patterns, plugins in files included; empty for a text."""

    def backend(self, name: str) -> BackendSpec:
        """The backend ``name``; KeyError if there is none."""
        for spec in self.backends:
            if spec.name == name:
                return spec
        raise KeyError(name)

    def frontend(self, name: str) -> FrontendSpec:
        """The frontend ``name``; KeyError if there is none."""
        for spec in self.frontends:
            if spec.name == name:
                return spec
        raise KeyError(name)
