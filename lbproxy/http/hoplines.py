"""PURE. The lines that this hop adds to a request: X-Forwarded-*, Forwarded, Via and TE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import Headers, RequestHead
from lbproxy.http.syntax import list_members

if TYPE_CHECKING:
    from lbproxy.model import FrontendSpec

__all__ = ["MAX_LOOPS", "MEMO", "VIA_VERSION", "HopLines", "bracketed", "forwarded_node"]

MAX_LOOPS: Final = 10
"""Maximum number of times that Via may name this proxy. A request may legitimately come back."""

MEMO: Final = 4096
"""Maximum number of clients whose lines are cached; about 2 MiB when full."""

VIA_VERSION: Final = {10: b"1.0 ", 11: b"1.1 ", 20: b"2.0 ", 30: b"3.0 "}

_Line = tuple[bytes, bytes]
ConnectionLines = tuple[_Line, _Line, _Line, bytes, bytes]
"""X-Forwarded-For, -Proto, -Port, and the parts of Forwarded before and after the host."""


class HopLines:
    """Creates the lines for one frontend. ``named``: whether Via gets this hop."""

    def __init__(self, spec: FrontendSpec) -> None:
        self._x = "x-forwarded" in spec.forwarded
        self._rfc7239 = "rfc7239" in spec.forwarded
        name = b"" if spec.via == "none" else spec.via.encode("ascii", "replace")
        self._name = name.lower()
        self.named = bool(name)
        self.via = {version: start + name for version, start in VIA_VERSION.items()}
        self._memo: dict[tuple[str, int, str, int], ConnectionLines] = {}

    def lines(
        self,
        head: RequestHead,
        seen: dict[bytes, bytes] | None,
        client_ip: str,
        client_port: int,
        scheme: str,
        local_port: int,
    ) -> Headers:
        """Return the lines for one request. ``seen``: the values of the lines that they extend."""
        out: Headers = []
        key = (client_ip, client_port if self._rfc7239 else 0, scheme, local_port)
        lines = self._memo.get(key)
        if lines is None:
            lines = self._remember(key)
        if self._x:
            self._add_x(out, head, lines, seen)
        if self._rfc7239:
            host = b";host=" + forwarded_node(head.host) if head.host else b""
            element = lines[3] + host + lines[4]
            before = seen.get(b"forwarded") if seen else None
            out.append((b"Forwarded", before + b", " + element if before else element))
        if self._name:
            via = self.via[head.version]
            before = seen.get(b"via") if seen else None
            if before:
                if self._loops(before) >= MAX_LOOPS:
                    raise ProxyError(Kind.LOOP_DETECTED, before.decode("latin-1")[:200])
                via = before + b", " + via
            out.append((b"Via", via))
        if seen and head.version > 10 and b"trailers" in list_members(seen.get(b"te", b"")):
            out.append((b"TE", b"trailers"))
        return out

    def _add_x(
        self,
        out: Headers,
        head: RequestHead,
        lines: ConnectionLines,
        seen: dict[bytes, bytes] | None,
    ) -> None:
        """Append the X-Forwarded-* lines."""
        own_for, own_proto, own_port, _, _ = lines
        if seen is None:
            if own_for[1]:
                out.append(own_for)
            out.append(own_proto)
            if head.host:
                out.append((b"X-Forwarded-Host", head.host))
            if own_port[1]:
                out.append(own_port)
            return
        # after a trailing comma this hop would follow an empty member (RFC 9110 §5.6.1)
        before = seen.get(b"x-forwarded-for", b"").rstrip(b", \t")
        hops = [value for value in (before, own_for[1]) if value]
        pairs = (
            (b"X-Forwarded-For", b", ".join(hops)),
            (b"X-Forwarded-Proto", seen.get(b"x-forwarded-proto") or own_proto[1]),
            (b"X-Forwarded-Host", seen.get(b"x-forwarded-host") or head.host),
            (b"X-Forwarded-Port", seen.get(b"x-forwarded-port") or own_port[1]),
        )
        out.extend(pair for pair in pairs if pair[1])

    def _remember(self, key: tuple[str, int, str, int]) -> ConnectionLines:
        """Create and cache the lines that all requests of one connection share."""
        client_ip, client_port, scheme, local_port = key
        ip = client_ip.partition("%")[0].encode("ascii", "replace")
        raw_scheme = scheme.encode("ascii", "replace")
        node = b"unknown"
        if ip:
            node = bracketed(ip)
            if client_port:
                node += b":%d" % client_port
        lines = (
            (b"X-Forwarded-For", ip),
            (b"X-Forwarded-Proto", raw_scheme),
            (b"X-Forwarded-Port", b"%d" % local_port if local_port else b""),
            b"for=" + forwarded_node(node),
            b";proto=" + raw_scheme,
        )
        if len(self._memo) >= MEMO:
            self._memo.clear()
        self._memo[key] = lines
        return lines

    # -- loops ----------------------------------------------------------------------------------

    def _loops(self, via: bytes) -> int:
        return sum(
            part.split(b"(")[0].split()[1:2] == [self._name] for part in via.lower().split(b",")
        )

    def loop_detected(self, head: RequestHead) -> bool:
        """See :meth:`Forwarder.loop_detected`."""
        if not self._name:
            return False
        values = head.header_values(b"via")
        return bool(values) and self._loops(b",".join(values)) >= MAX_LOOPS

    def onward_via(self, head: RequestHead) -> bytes:
        """See :meth:`Forwarder.onward_via`."""
        if not self._name:
            return b""
        return b", ".join([*head.header_values(b"via"), self.via[head.version]])


def bracketed(ip: bytes) -> bytes:
    """Return an address as in a URL, with IPv6 in brackets."""
    return b"[" + ip + b"]" if b":" in ip else ip


def forwarded_node(value: bytes) -> bytes:
    """Return a value for Forwarded, in quotes if it is not a token (RFC 7239 §4, §6)."""
    if b":" in value or b"[" in value:
        return b'"' + value + b'"'
    return value
