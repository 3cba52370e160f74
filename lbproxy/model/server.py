"""PURE. A server and the ways to judge its health: checks, agents, passive health."""

from __future__ import annotations

from attrs import frozen

from lbproxy.model.base import NOWHERE, Address, PluginSpec, Target, Where, hidden, option

__all__ = ["AgentSpec", "CheckSpec", "PassiveSpec", "ServerSpec"]


@frozen
class ServerSpec:
    """One line of ``servers``: ``NAME HOST:PORT|unix:PATH`` and options."""

    name: str = option(
        "name",
        doc="name of the server, unique in the backend; appears in logs and metrics",
        positional=True,
    )
    target: Target = option(
        "target",
        label="address",
        doc="address of the server, such as 10.0.0.1:80",
        positional=True,
        converter=Target.of,
    )
    weight: int = option(
        "int",
        1,
        min=0,
        max=1_000_000,
        doc="share of the traffic, relative to the other servers; 0: none",
    )
    backup: bool = option("flag", False, doc="use the server only when no other server is up")
    disabled: bool = option(
        "flag",
        False,
        doc="start in maint: no traffic and no checks until an operator sets ``ready``",
    )
    tier: int = option(
        "int",
        0,
        min=0,
        max=100,
        doc=(
            "servers of a higher tier are used only when no server of a lower tier is up; "
            "``backup`` comes after all tiers"
        ),
    )
    maxconn: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        doc="maximum number of concurrent connections (TCP) or requests (HTTP); 0: no limit",
    )
    check_address: Address | None = option(
        "address", None, doc="address for health checks, if other than the server's address"
    )
    agent_address: Address | None = option(
        "address", None, doc="address of the server's agent, if other than the port of ``agent``"
    )
    no_check: bool = option("flag", False, doc="do not check the server; it always counts as up")
    tls: bool = option(
        "flag", False, doc="use TLS to the server, and verify its name or IP address"
    )
    ca: str = option(
        "path", "", doc="PEM file or folder of trusted certificate authorities; empty: the system's"
    )
    verify: bool = option(
        "bool", True, doc="verify the server's certificate; use ``no`` in tests only"
    )
    sni: str = option(
        "string", "", doc="server name to send and verify; empty: the host in the address"
    )
    certificate: str = option(
        "string", "", doc="client certificate: name of a [certificate] section"
    )
    send_proxy: str = option(
        "choice",
        "",
        choices=("v1", "v2"),
        doc="version of the PROXY protocol header that begins each connection",
    )
    where: Where = hidden(NOWHERE)

    @property
    def admin(self) -> str:
        """The operator's state for the configured value: ``maint`` or ``ready``."""
        return "maint" if self.disabled else "ready"


@frozen
class CheckSpec:
    """``check = KIND options every=...``: a probe and its rise and fall counts."""

    probe: PluginSpec = option("hidden", None, doc="tcp, http, ...")
    every: float = option(
        "duration", 2.0, min=0.05, max=86400, doc="interval while the server is up"
    )
    fast: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc="interval during a transition; 0: same as ``every``",
    )
    down: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc="interval while the server is down; 0: same as ``every``",
    )
    timeout: float = option(
        "duration", 1.0, min=0.01, max=3600, doc="time after which a check fails"
    )
    rise: int = option(
        "int", 2, min=1, max=1000, doc="number of consecutive successes that bring a server up"
    )
    fall: int = option(
        "int", 3, min=1, max=1000, doc="number of consecutive failures that take a server down"
    )
    initial: str = option(
        "choice",
        "up",
        choices=("up", "down"),
        doc="assumed state of a server before its first check, which alone decides the next state",
    )
    port: int = option(
        "int",
        0,
        min=0,
        max=65535,
        doc=(
            "port for checks at the server's address; 0: the port for traffic; check_address of "
            "a server takes precedence"
        ),
    )
    tls: bool = option("flag", False, doc="use TLS in the check even if traffic does not")
    no_tls: bool = option("flag", False, doc="check without TLS even if the server line has tls")
    sni: str = option(
        "string", "", doc="server name to send and verify in the check's TLS; empty: as for traffic"
    )
    ca: str = option(
        "path",
        "",
        doc=(
            "PEM file or folder of certificate authorities that the check trusts; empty: as for "
            "traffic"
        ),
    )
    verify: bool | None = option(
        "bool", None, doc="verify the certificate in the check; none: as for traffic"
    )
    where: Where = hidden(NOWHERE)


@frozen
class PassiveSpec:
    """``passive = errors=5 eject=10s ...``: judges servers by the outcomes of their traffic."""

    errors: int = option(
        "int",
        5,
        min=0,
        max=10_000,
        doc="number of consecutive failures that eject a server; 0: off",
    )
    count: tuple[str, ...] = option(
        "list:choice",
        ("connect", "reset", "timeout", "junk", "5xx"),
        choices=("connect", "reset", "timeout", "junk", "5xx"),
        doc="failures to count, separated by commas; 501 and 505 never count",
        example="connect,reset",
    )
    eject: float = option(
        "duration",
        10.0,
        min=0.1,
        max=86400,
        doc="duration of the first ejection; the n-th in a row lasts n times as long",
    )
    eject_max: float = option(
        "duration", 300.0, min=0.1, max=86400, doc="maximum duration of an ejection"
    )
    max_ejected: float = option(
        "percent",
        0.5,
        min=0.0,
        max=1.0,
        doc="maximum share of a tier's servers that may be out of service after an ejection",
    )
    success_rate: bool = option(
        "flag", False, doc="eject a server with a significantly lower success rate than the others"
    )
    stdev: float = option(
        "float",
        1.9,
        min=0.1,
        max=100.0,
        doc=(
            "for ``success_rate``: number of standard deviations below the others' mean that "
            "ejects a server"
        ),
    )
    latency: float = option(
        "times",
        0.0,
        min=0.0,
        max=1000.0,
        doc=(
            "eject a server whose mean response time is above this multiple of the others' "
            "median; 0: off"
        ),
        example="3x",
    )
    latency_min: float = option(
        "duration",
        0.01,
        min=0.0,
        max=3600,
        doc="for ``latency``: minimum difference to the others' median",
    )
    every: float = option(
        "duration",
        10.0,
        min=0.5,
        max=3600,
        doc=(
            "interval at which ``success_rate`` and ``latency`` are evaluated, over the time "
            "since the last evaluation"
        ),
    )
    min_servers: int = option(
        "int",
        3,
        min=2,
        max=10_000,
        doc="minimum number of servers with ``min_requests`` for a comparison",
    )
    min_requests: int = option(
        "int",
        100,
        min=1,
        max=1_000_000_000,
        doc="minimum number of requests of a server within ``every`` for an evaluation",
    )
    where: Where = hidden(NOWHERE)

    def __attrs_post_init__(self) -> None:
        if self.eject_max < self.eject:
            raise ValueError("eject_max must not be shorter than eject")
        if not (self.errors or self.success_rate or self.latency):
            raise ValueError("no criterion is set: set errors, success_rate or latency")


@frozen
class AgentSpec:
    """``agent = PORT options``: programs beside the servers that report their capacity."""

    port: int = option(
        "int",
        min=1,
        max=65535,
        doc="port of the agent at each server's address, without TLS",
        positional=True,
        example="9707",
    )
    every: float = option("duration", 2.0, min=0.05, max=86400, doc="interval between queries")
    timeout: float = option(
        "duration", 1.0, min=0.01, max=3600, doc="time after which an answer is ignored"
    )
    send: str = option(
        "string",
        "",
        doc=r"text to send to the agent first; ``\n`` inside double quotes ends a line",
        example=r"hello\n",
    )
    where: Where = hidden(NOWHERE)
