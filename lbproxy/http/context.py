"""PURE. The input of conditions: the interface of an HTTP exchange or a TCP session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from lbproxy.http.message import RequestHead, ResponseHead

__all__ = ["Compiled", "RouteContext", "TemplateContext", "Test"]


class RouteContext(Protocol):
    """The input of a route: an HTTP exchange or a TCP session.

    ``request``: None for raw TCP. ``client_ip``: "" for a Unix socket. ``sni``: lower case, "" if
    none. ``alpn``: protocols that the client offered. ``started``: Unix time in seconds.
    ``info.local_port``: the port that the client connected to. ``frontend.lists``: the lists of
    addresses, by name; ``frontend.tracks``: the tracks. HTTP also has ``scheme`` and
    ``response`` (None until it arrives).
    """

    @property
    def request(self) -> RequestHead | None: ...

    @property
    def client_ip(self) -> str: ...

    @property
    def sni(self) -> str: ...

    @property
    def alpn(self) -> tuple[str, ...]: ...

    @property
    def started(self) -> float: ...

    @property
    def info(self) -> Any: ...

    @property
    def frontend(self) -> Any: ...


class TemplateContext(Protocol):
    """The input of variables: the public interface of an HTTP exchange."""

    @property
    def request(self) -> RequestHead: ...
    @property
    def response(self) -> ResponseHead | None: ...

    @property
    def client_ip(self) -> str: ...

    @property
    def client_port(self) -> int: ...

    @property
    def sni(self) -> str: ...

    @property
    def scheme(self) -> str: ...

    @property
    def frontend_name(self) -> str: ...

    @property
    def backend_name(self) -> str: ...

    @property
    def server_name(self) -> str: ...

    @property
    def request_id(self) -> str: ...


Test = Callable[[RouteContext, bytes], bool]
"""A compiled condition, called with the context and the normalised path."""

Compiled = tuple[Test, Callable[[RouteContext, bytes], str]]
"""A test, and the tested value, for people."""
