"""PURE. ``[lbproxy]``: what holds for the whole process."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from lbproxy.model.base import NOWHERE, Where, hidden, option
from lbproxy.model.listen import AdminSpec, LogSpec

__all__ = ["GlobalSpec"]


@frozen
class GlobalSpec:
    """``[lbproxy]``: the process."""

    access_log: LogSpec = option(
        "line:log",
        LogSpec(),
        doc="where and how requests and sessions are logged",
        example="access.log json",
    )
    maxconn: int = option(
        "int",
        0,
        min=0,
        max=10_000_000,
        workers="split",
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
        workers="master",
        doc="processes that serve; ``cpu``: one for each processor",
    )
    worker_timeout: float = option(
        "duration",
        10.0,
        min=3.0,
        max=3600,
        workers="master",
        doc="a worker that has not turned for so long is replaced, and its stack logged",
    )
    watch: bool = option(
        "bool",
        False,
        workers="master",
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
        "lines:admin",
        (),
        workers="master",
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
        workers="master",
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
