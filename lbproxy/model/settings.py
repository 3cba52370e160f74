"""PURE. ``[lbproxy]``: settings of the whole process."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from lbproxy.model.base import NOWHERE, Network, Where, hidden, option
from lbproxy.model.listen import AdminSpec, LogSpec

__all__ = ["GlobalSpec"]


@frozen
class GlobalSpec:
    """``[lbproxy]``: settings of the process."""

    access_log: LogSpec = option(
        "line:log",
        LogSpec(),
        doc="destination and format of the access log",
        example="access.log json",
    )
    more_logs: tuple[LogSpec, ...] = option(
        "lines:log",
        (),
        doc="further access logs besides ``access_log``, one per line",
        example="errors.log json if status 5xx",
    )
    process_log: Literal["text", "json"] = option(
        "choice",
        "text",
        choices=("text", "json"),
        workers="master",
        doc=(
            "format of the process log, lbproxy's own messages; ``json`` lines have ``time``, "
            "``level``, ``logger`` and ``message``"
        ),
    )
    maxconn: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        workers="split",
        doc=(
            "maximum number of client connections in total; 0: half of the process's file "
            "descriptor limit"
        ),
    )
    max_handshakes: int = option(
        "int",
        0,
        min=0,
        max=1_000_000,
        workers="split",
        doc=(
            "maximum number of TLS handshakes with clients at a time; further clients wait for "
            "one to end within their ``timeout_handshake``; 0: an eighth of ``maxconn``, at "
            "least 64 and at most 2048"
        ),
    )
    transport: Literal["auto", "epoll", "twisted"] = option(
        "choice",
        "auto",
        choices=("auto", "epoll", "twisted"),
        restart=True,
        doc=(
            "transport for sockets: lbproxy's epoll transport or Twisted's own; ``auto`` selects "
            "epoll if the system has it; a change needs a restart"
        ),
    )
    workers: int = option(
        "workers",
        1,
        min=1,
        max=1024,
        restart=True,
        workers="master",
        doc="number of worker processes; ``cpu``: one for each CPU",
    )
    worker_timeout: float = option(
        "duration",
        10.0,
        min=3.0,
        max=3600,
        workers="master",
        doc="time without a turn of its reactor after which a worker is replaced; its stack is "
        "logged",
    )
    watch: bool = option(
        "bool",
        False,
        workers="master",
        doc=(
            "reload automatically when the configuration file, an included file or a plugin's "
            ".py file changes"
        ),
    )
    timeout_drain: float = option(
        "duration",
        30.0,
        min=0.0,
        max=86400,
        doc=(
            "how long sessions may continue after a reload removes their frontend, backend or "
            "server"
        ),
    )
    secret: str = option(
        "secret",
        "",
        doc=(
            "key that signs data stored by clients, such as sticky cookies; empty: random, so "
            "that a restart invalidates them; for ``challenge`` it is kept in a file beside "
            "``state``"
        ),
        example="file:/etc/lbproxy/secret",
    )
    made_secret: bool = option(
        "hidden", False, doc="whether ``secret`` is random, so that other nodes do not know it"
    )
    timeout_shutdown: float = option(
        "duration",
        10.0,
        min=0.0,
        max=86400,
        doc="how long running sessions may finish when lbproxy stops",
    )
    admin: tuple[AdminSpec, ...] = option(
        "lines:admin",
        (),
        workers="master",
        doc="addresses of the admin API, the metrics and the dashboard, one per line",
        example="tcp:8404:interface=127.0.0.1",
    )
    admin_tokens: str = option(
        "path",
        "",
        doc=(
            "file with the clients of the admin API, one line ``ROLE NAME TOKEN`` each; without "
            "it the API accepts only loopback, Unix sockets and client certificates"
        ),
    )
    admin_hosts: tuple[str, ...] = option(
        "list:string",
        (),
        doc=(
            "names in ``Host`` that the admin API accepts without a token, besides localhost and "
            "IP addresses"
        ),
        example="lb.internal",
    )
    admin_public: tuple[str, ...] = option(
        "list:choice",
        ("health",),
        choices=("health", "metrics", "none"),
        doc=(
            "what the admin API shows without a token: ``health`` (``/healthz`` and "
            "``/readyz``), ``metrics`` (``/metrics``), or ``none``"
        ),
        example="health metrics",
    )
    state: str = option(
        "path",
        "",
        workers="master",
        doc=(
            "file that preserves run-time changes (weights, drains, servers added and removed) "
            "over a restart"
        ),
        example="lbproxy.state.json",
        restart=True,
    )
    guard_public: tuple[Network, ...] = option(
        "list:network",
        (),
        doc=(
            "networks that ``guard = public-only`` treats as public, for tests; listeners of "
            "lbproxy itself stay forbidden"
        ),
        example="127.95.1.0/24",
    )
    nameservers: tuple[str, ...] = option(
        "list:string",
        (),
        doc=(
            "name servers for all look-ups of lbproxy, instead of the system's: IP addresses,"
            " with a port if it is not 53; ``/etc/hosts`` takes precedence"
        ),
        example="10.0.0.2 10.0.0.3:5353",
        restart=True,
    )
    geoip: tuple[str, ...] = option(
        "list:path",
        (),
        doc=(
            "files in MaxMind's format with countries or networks, for the conditions ``client"
            " country:CODE asn:NUMBER`` and the variables ``{country}`` and ``{asn}``"
        ),
        example="GeoLite2-Country.mmdb GeoLite2-ASN.mmdb",
    )
    metrics_servers: bool = option(
        "bool",
        True,
        doc=(
            "export metrics of each server; ``no``: only of frontends and backends, for very "
            "many servers"
        ),
    )
    where: Where = hidden(NOWHERE)
