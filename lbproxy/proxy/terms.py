"""DATA. The settings of a backend for its connections to servers."""

from __future__ import annotations

from typing import Final

from lbproxy.http.message import Limits
from lbproxy.model import BackendSpec
from lbproxy.model.backend import server_timeout
from lbproxy.net.endpoints import Dialler
from lbproxy.net.timers import TimerWheel

__all__ = ["Terms", "Waits"]

_RESPONSE_HEADERS: Final = 1000  # maximum number of header lines in a response


class Waits:
    """The deadlines of one stream to a server, in seconds."""

    __slots__ = ("timeout_response", "timeout_server", "timeout_tunnel")

    def __init__(self, response: float, server: float, tunnel: float) -> None:
        self.timeout_response = response
        self.timeout_server = server
        self.timeout_tunnel = tunnel


class Terms(Waits):
    """The settings of one backend, which its connectors and their connections share.

    A reload rewrites the object in place, so that a running connection uses the new timeouts from
    its next wait on. All ``timeout_*`` and ``pool_idle`` are seconds. ``shares`` and
    ``shares_first``: whether a pooled connection may serve another client connection, and its first
    request (``reuse``). ``bound``: number of connections that each belong to one client connection.
    """

    __slots__ = (
        "bound",
        "dialler",
        "pool_idle",
        "pool_requests",
        "pool_size",
        "response_limits",
        "shares",
        "shares_first",
        "timeout_connect",
        "wheel",
    )

    def __init__(self, dialler: Dialler, spec: BackendSpec) -> None:
        super().__init__(0.0, 0.0, 0.0)
        self.dialler = dialler
        self.wheel: TimerWheel = dialler.wheel
        self.bound = 0
        self.read(spec)

    def read(self, spec: BackendSpec) -> None:
        """Read the settings in ``spec``."""
        self.timeout_connect = spec.timeout_connect
        self.timeout_response = spec.timeout_response
        self.timeout_server = server_timeout(spec)
        self.timeout_tunnel = spec.timeout_tunnel
        self.pool_idle = spec.pool_idle
        self.pool_size = spec.pool_size
        self.pool_requests = spec.pool_requests
        self.shares = spec.reuse != "never"
        self.shares_first = spec.reuse == "always"
        self.response_limits = Limits(
            header_bytes=spec.max_response_header_bytes, header_count=_RESPONSE_HEADERS
        )
