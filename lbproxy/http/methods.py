"""PURE. The request methods that a frontend accepts, and the handling of OPTIONS and TRACE.

The exchange reads :attr:`MethodPolicy.plain` for each request, and calls :meth:`MethodPolicy.judge`
for methods outside this set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import Reply, RequestHead

if TYPE_CHECKING:
    from lbproxy.model import FrontendSpec

__all__ = ["MethodPolicy"]

_USUAL: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
_PLAIN: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"))
_LIMITED: Final = (b"OPTIONS", b"TRACE")  # controlled by Max-Forwards (RFC 9110 §7.6.2)
_HOPS_DIGITS: Final = 9
_SECRET: Final = frozenset(
    (b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"x-auth-token")
)
"""Fields that a TRACE does not reflect (RFC 9110 §9.3.8)."""


class MethodPolicy:
    """``methods``, ``connect`` and ``trace`` of one frontend.

    ``plain``: methods that are always accepted. ``allow``: the Allow header of a 405.
    """

    __slots__ = ("_allowed", "_connect", "_trace", "allow", "plain")

    def __init__(self, spec: FrontendSpec) -> None:
        named = tuple(method.encode("ascii") for method in spec.methods)
        self._allowed = frozenset(named)
        self._connect = spec.connect == "forward"
        self._trace = spec.trace
        self.plain = _PLAIN & self._allowed if named else _PLAIN
        shown = named or (
            *_USUAL,
            *((b"TRACE",) if self._trace else ()),
            *((b"CONNECT",) if self._connect else ()),
        )
        self.allow = b", ".join(dict.fromkeys(shown))

    def judge(self, head: RequestHead) -> Reply | None:
        """Return lbproxy's own answer to a request, or None if a server answers it.

        A Max-Forwards that permits one more hop is decremented in ``head``. Raises ProxyError if
        the frontend refuses the request.
        """
        method = head.method
        if (
            (self._allowed and method not in self._allowed)
            or (method == b"CONNECT" and not self._connect)
            or (method == b"TRACE" and not self._trace)
        ):
            raise ProxyError(Kind.METHOD_REFUSED, method.decode("ascii"))
        if method == b"TRACE" and head.length != 0:
            # a server that parses the body as the next request would be misled
            raise ProxyError(Kind.BAD_REQUEST, "TRACE with a body")
        if method in _LIMITED:
            return self._last_hop(head)
        return None

    def _last_hop(self, head: RequestHead) -> Reply | None:
        values = head.header_values(b"max-forwards")
        if not values:
            return None
        if len(values) > 1 or not values[0].isdigit() or len(values[0]) > _HOPS_DIGITS:
            raise ProxyError(Kind.BAD_REQUEST, "malformed max-forwards")
        left = int(values[0])
        if left:
            head.set_header(b"Max-Forwards", b"%d" % (left - 1))
            return None
        if head.method == b"TRACE":
            return Reply(200, _reflected(head), [(b"Content-Type", b"message/http")])
        return Reply(200, b"", [(b"Allow", self.allow)])


def _reflected(head: RequestHead) -> bytes:
    """Return the request that the response to TRACE contains."""
    lines = [b"TRACE %b HTTP/1.1" % head.target]
    lines += [b"%b: %b" % pair for pair in head.pairs() if pair[0].lower() not in _SECRET]
    return b"\r\n".join([*lines, b"", b""])
