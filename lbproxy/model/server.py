"""PURE. A server and how its health is judged: checks, agents, passive health."""

from __future__ import annotations

from attrs import frozen

from lbproxy.model.base import NOWHERE, Address, PluginSpec, Target, Where, hidden, option

__all__ = ["AgentSpec", "CheckSpec", "PassiveSpec", "ServerSpec"]


@frozen
class ServerSpec:
    """One line of ``servers``: ``NAME HOST:PORT|unix:PATH`` and options."""

    name: str = option(
        "name", doc="unique in the backend; seen in logs and metrics", positional=True
    )
    target: Target = option(
        "target", label="address", doc="where traffic goes", positional=True, converter=Target.of
    )
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
