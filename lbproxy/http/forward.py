"""PURE. Which headers go to servers and back to clients, and who the client is; one object per frontend.

The exchange calls :meth:`Forwarder.client` once when a request head is read, before any filter, then
:meth:`Forwarder.request_headers` for each attempt and :meth:`Forwarder.response_headers` for each response head.
Framing (Content-Length, Transfer-Encoding) and connection management (Connection, Upgrade) are the codec's: it
writes them from the head's attributes.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from lbproxy.errors import Kind, ProxyError
from lbproxy.guard.addresses import AddressSet, address_number
from lbproxy.http.message import FieldBlock, Headers, KeptLines, RequestHead, ResponseHead

if TYPE_CHECKING:
    from lbproxy.model import FrontendSpec

__all__ = ["MAX_HOPS", "MAX_LOOPS", "PROTECTED", "Forwarder"]

MAX_HOPS: Final = 32
"""Most addresses of X-Forwarded-For that are looked at, from the right."""

MAX_LOOPS: Final = 10
"""So often our name may stand in Via: proxies legitimately meet a request again, but not for ever."""

_BLOCK_NOTES: Final = (
    16  # frontends that share a server connection and are remembered with its lines
)
_MEMO: Final = 4096  # clients whose lines are remembered; about 2 MiB when full

PROTECTED: Final = frozenset(
    b"host content-length content-type content-encoding content-range content-location "
    b"transfer-encoding trailer date expect range cache-control pragma expires age vary etag "
    b"authorization www-authenticate cookie set-cookie origin referer location max-forwards via "
    b"forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-real-ip "
    b"strict-transport-security content-security-policy".split()
)
"""Fields that Connection cannot name away: they are for every recipient, or say who may do what (RFC 9110 §7.6.1)."""

# What only a trusted proxy may say.  Servers behind CGI-like gateways read "_" as "-" (RFC 3875 §4.1.18)
_CLAIMS: Final = frozenset(
    [
        b"".join(parts)
        for name in (
            b"forwarded",
            b"x-forwarded",
            b"x-forwarded-for",
            b"x-forwarded-proto",
            b"x-forwarded-protocol",
            b"x-forwarded-host",
            b"x-forwarded-port",
            b"x-forwarded-server",
            b"x-forwarded-scheme",
            b"x-forwarded-ssl",
            b"x-forwarded-prefix",
            b"x-real-ip",
        )
        for parts in product(*[[b"-", b"_"] if char == 45 else [bytes((char,))] for char in name])
    ]
)

# RFC 9110 §7.6.1, and what else is between two neighbours only
_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-connection te transfer-encoding upgrade "
    b"proxy-authenticate proxy-authorization proxy-authentication-info http2-settings".split()
)
# Framing in the spelling that CGI-like gateways take for the real thing, where lbproxy and others see an unknown field
_DISGUISED: Final = frozenset((b"content_length", b"transfer_encoding"))
_REQUEST_SPECIAL: Final = _HOP_BY_HOP | {b"host", b"content-length"} | _DISGUISED
_X_LINES: Final = frozenset(
    (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
)

# special, but nothing is made of their values
_NEVER_READ: Final = _DISGUISED | {b"host", b"connection"}

_VIA_VERSION: Final = {10: b"1.0 ", 11: b"1.1 ", 20: b"2.0 ", 30: b"3.0 "}

_Line = tuple[bytes, bytes]
_Own = tuple[_Line, _Line, _Line, bytes, bytes]
"""X-Forwarded-For, -Proto, -Port, and what stands before and behind the host in Forwarded."""


class _Passed:
    """What one forwarder makes of field lines, whoever sent them."""

    __slots__ = ("kept", "read")

    def __init__(self, kept: Headers, read: dict[bytes, bytes] | None) -> None:
        self.kept = KeptLines(kept)
        self.read = read


class Forwarder:
    """The forwarding rules of one frontend, precomputed."""

    def __init__(self, spec: FrontendSpec) -> None:
        self._trusted = AddressSet(spec.trusted_proxies)
        self._x = "x-forwarded" in spec.forwarded
        self._rfc7239 = "rfc7239" in spec.forwarded
        name = b"" if spec.via == "none" else spec.via.encode("ascii", "replace")
        self._name = name.lower()
        self._via = {version: start + name for version, start in _VIA_VERSION.items()}
        special = _REQUEST_SPECIAL
        if name:
            special |= {b"via"}
        if self._x:
            special |= _X_LINES
        if self._rfc7239:
            special |= {b"forwarded"}
        self._request_special = special
        self._response_special = _HOP_BY_HOP | {b"content-length"}
        if name:
            self._response_special |= {b"via"}
        if spec.server_header == "remove":
            self._response_special |= {b"server"}
        self._reads = ("rfc7239", "x-forwarded")
        if self._x and (not self._rfc7239 or spec.forwarded[0] == "x-forwarded"):
            self._reads = ("x-forwarded", "rfc7239")
        self._memo: dict[tuple[str, int, str, int], _Own] = {}

    # --- who the client is

    def client(self, peer_ip: str, head: RequestHead, scheme: str = "") -> tuple[str, str]:
        """The address of the real client, and the scheme it used; ``head`` is cleared of what the peer may not say.

        ``peer_ip``: the other end of the connection, or what a trusted PROXY header said
        (:attr:`ConnectionInfo.client_ip`).  ``scheme``: of the connection; "" takes the head's.

        Unless ``peer_ip`` is in ``trusted_proxies`` its X-Forwarded-*, Forwarded and X-Real-IP lines are removed, in
        every spelling with ``_``.  If it is, the client is the right-most address in X-Forwarded-For (or Forwarded)
        that is not trusted itself; the search stops at what is no address and after :data:`MAX_HOPS`.  The header
        read is the first in the frontend's ``forwarded`` that the request has.

        Fields that Connection nominates are removed here too (not :data:`PROTECTED` ones), so that nothing a filter
        adds later can be named away.  Call it once per request, before the filters.
        """
        scheme = scheme or head.scheme.decode("ascii", "replace")
        block = head.block
        if block is not None and _NO_CLAIMS in block.common:
            return peer_ip, scheme
        headers = head.headers
        if head.nominated:
            away = frozenset(head.nominated) - PROTECTED
            headers = head.headers = [pair for pair in headers if pair[0].lower() not in away]
            head.nominated = ()
        for name, _ in headers:
            if name.lower() in _CLAIMS:
                break
        else:
            if block is not None:
                block.common[_NO_CLAIMS] = True
            return peer_ip, scheme
        if peer_ip not in self._trusted:
            head.headers = [pair for pair in headers if pair[0].lower() not in _CLAIMS]
            head.block = None
            return peer_ip, scheme
        return self._believe(peer_ip, head, scheme)

    def _believe(self, ip: str, head: RequestHead, scheme: str) -> tuple[str, str]:
        """The client a trusted proxy at ``ip`` speaks for."""
        protos = head.header_values(b"x-forwarded-proto")
        for family in self._reads:
            if family == "x-forwarded":
                scheme = (_proto(protos[-1]) if protos else "") or scheme
                hops = _x_hops(head)
            else:
                hops = _forwarded_hops(head)
            if hops:
                # From the right: each address is believed because the one right of it is trusted
                for address, proto in hops:
                    if not address:
                        break
                    ip = address
                    scheme = proto or scheme
                    if ip not in self._trusted:
                        break
                break
        return ip, scheme

    # --- to the server

    def request_block(
        self,
        head: RequestHead,
        *,
        client_ip: str,
        client_port: int,
        scheme: str,
        local_port: int,
        host_header: bytes,
    ) -> FieldBlock:
        """What :meth:`request_headers` gives, worked out once for the block that ``head`` has (it must have one).

        Nobody may change it.
        """
        block = head.block
        assert block is not None
        key = (self, client_ip, client_port, scheme, local_port, host_header)
        ours: FieldBlock | None = block.notes.get(key)
        if ours is None:
            passed: _Passed | None = block.common.get(self)
            if passed is None:
                passed = block.common[self] = _Passed(*self._sort(head.headers))
            own = self._own(head, passed.read, client_ip, client_port, scheme, local_port)
            kept = passed.kept
            headers = [(b"Host", host_header or head.host), *kept.headers, *own]
            ours = block.notes[key] = FieldBlock(b"", headers, None, kept)
        return ours

    def request_headers(
        self,
        head: RequestHead,
        *,
        client_ip: str,
        client_port: int = 0,
        scheme: str,
        local_port: int = 0,
        host_header: bytes = b"",
    ) -> Headers:
        """The header lines for a server, a new list; ``head`` stays as it is.

        ``client_ip``, ``client_port``, ``local_port``: of the *connection* (:class:`ConnectionInfo`): this hop is
        what we vouch for, what :meth:`client` found stands in X-Forwarded-For already.  ``scheme``: what
        :meth:`client` gave.
        ``host_header`` replaces the Host, b"" keeps it.

        Hop-by-hop fields, Content-Length and Transfer-Encoding, also spelled with ``_``, are gone.  Present
        X-Forwarded-Proto, -Host and -Port (of a trusted proxy, or set by a filter) stay; -For, Forwarded and Via
        get this hop appended.

        Raises :class:`ProxyError` LOOP_DETECTED when our name stands in Via :data:`MAX_LOOPS` times.
        """
        kept, seen = self._sort(head.headers)
        out: Headers = [(b"Host", host_header or head.host), *kept]
        if head.nominated:
            away = frozenset(head.nominated) - PROTECTED
            out = [pair for pair in out if pair[0].lower() not in away]
        out += self._own(head, seen, client_ip, client_port, scheme, local_port)
        return out

    def _sort(self, headers: Headers) -> tuple[Headers, dict[bytes, bytes] | None]:
        """The lines that pass as they are, and the values that are read of the others."""
        special = self._request_special
        kept: Headers = []
        found: list[_Line] = []
        append = kept.append
        for pair in headers:
            low = pair[0].lower()
            if low not in special:
                append(pair)
            elif low not in _NEVER_READ:
                found.append((low, pair[1]))
        return kept, _joined(found) if found else None

    def _own(
        self,
        head: RequestHead,
        seen: dict[bytes, bytes] | None,
        client_ip: str,
        client_port: int,
        scheme: str,
        local_port: int,
    ) -> Headers:
        """The lines that this hop adds."""
        out: Headers = []
        key = (client_ip, client_port if self._rfc7239 else 0, scheme, local_port)
        lines = self._memo.get(key)
        if lines is None:
            lines = self._remember(key)
        if self._x:
            self._add_x(out, head, lines, seen)
        if self._rfc7239:
            host = b";host=" + _node(head.host) if head.host else b""
            element = lines[3] + host + lines[4]
            before = seen.get(b"forwarded") if seen else None
            out.append((b"Forwarded", before + b", " + element if before else element))
        if self._name:
            via = self._via[head.version]
            before = seen.get(b"via") if seen else None
            if before:
                if self._loops(before) >= MAX_LOOPS:
                    raise ProxyError(Kind.LOOP_DETECTED, before.decode("latin-1")[:200])
                via = before + b", " + via
            out.append((b"Via", via))
        if seen and b"trailers" in seen.get(b"te", b"").lower():
            out.append((b"TE", b"trailers"))
        return out

    def _add_x(
        self,
        out: Headers,
        head: RequestHead,
        lines: _Own,
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
        hops = [value for value in (seen.get(b"x-forwarded-for"), own_for[1]) if value]
        pairs = (
            (b"X-Forwarded-For", b", ".join(hops)),
            (b"X-Forwarded-Proto", seen.get(b"x-forwarded-proto") or own_proto[1]),
            (b"X-Forwarded-Host", seen.get(b"x-forwarded-host") or head.host),
            (b"X-Forwarded-Port", seen.get(b"x-forwarded-port") or own_port[1]),
        )
        out.extend(pair for pair in pairs if pair[1])

    def _remember(self, key: tuple[str, int, str, int]) -> _Own:
        """The lines that are the same for every request of one connection."""
        client_ip, client_port, scheme, local_port = key
        ip = client_ip.partition("%")[0].encode("ascii", "replace")
        raw_scheme = scheme.encode("ascii", "replace")
        node = b"unknown"
        if ip:
            node = b"[" + ip + b"]" if b":" in ip else ip
            if client_port:
                node += b":%d" % client_port
        lines = (
            (b"X-Forwarded-For", ip),
            (b"X-Forwarded-Proto", raw_scheme),
            (b"X-Forwarded-Port", b"%d" % local_port if local_port else b""),
            b"for=" + _node(node),
            b";proto=" + raw_scheme,
        )
        if len(self._memo) >= _MEMO:
            self._memo.clear()
        self._memo[key] = lines
        return lines

    # --- loops

    def _loops(self, via: bytes) -> int:
        return sum(
            part.split(b"(")[0].split()[1:2] == [self._name] for part in via.lower().split(b",")
        )

    def loop_detected(self, head: RequestHead) -> bool:
        """Whether our name stands in Via :data:`MAX_LOOPS` times or more; always False with ``via = none``.

        :meth:`request_headers` looks by itself; this is for callers that want to know earlier.
        """
        if not self._name:
            return False
        values = head.header_values(b"via")
        return bool(values) and self._loops(b",".join(values)) >= MAX_LOOPS

    # --- to the client

    def response_block(self, head: ResponseHead) -> FieldBlock:
        """What :meth:`response_headers` gives a client of HTTP/1.1, worked out once for the block that ``head`` has
        (it must have one).

        Nobody may change it.
        """
        block = head.block
        assert block is not None
        ours: FieldBlock | None = block.notes.get(self)
        if ours is None:
            if len(block.notes) >= _BLOCK_NOTES:  # of frontends that reloads have replaced
                block.notes.clear()
            ours = block.notes[self] = FieldBlock(b"", self.response_headers(head))
        return ours

    def response_headers(self, head: ResponseHead, *, client_version: int = 11) -> Headers:
        """The header lines for a client that speaks ``client_version`` (10, 11, 20), a new list.

        Hop-by-hop fields are gone, and the ones Connection nominates (not :data:`PROTECTED` ones); Via has this hop;
        Server is there or not, as the frontend says.  Trailer goes with the chunked coding, which HTTP/1.0 lacks.

        Content-Length stays where ``head.length`` is 0, as it may describe the body of a HEAD or 304 answer, which only
        the codec can tell; it is gone from a 1xx and 204, which must not have one (RFC 9110 §8.6).
        """
        special = self._response_special
        out: Headers = []
        append = out.append
        via = b""
        for pair in head.headers:
            low = pair[0].lower()
            if low not in special:
                append(pair)
            elif low == b"via":
                via = via + b", " + pair[1] if via else pair[1]
            elif low == b"content-length" and head.length == 0 and _may_have_length(head.status):
                append(pair)
        if head.nominated or client_version < 11:
            away = frozenset(head.nominated) - PROTECTED
            if client_version < 11:
                away |= {b"trailer"}
            out = [pair for pair in out if pair[0].lower() not in away]
        if self._name:
            own = self._via[head.version]
            out.append((b"Via", via + b", " + own if via else own))
        if head.status == 101 and head.upgrade:
            out.append((b"Upgrade", head.upgrade))
        return out


# a note in a block: it holds nothing that only a trusted proxy may say
_NO_CLAIMS: Final = object()


def _may_have_length(status: int) -> bool:
    return status >= 200 and status != 204


_Hop = tuple[str, str]
"""An address, "" for what is none, and the scheme it used, "" if that was not said."""


def _joined(found: list[_Line]) -> dict[bytes, bytes]:
    """One value per name: the lines of a list joined (RFC 9110 §5.3)."""
    seen: dict[bytes, bytes] = {}
    for name, value in found:
        before = seen.get(name)
        seen[name] = before + b", " + value if before else value
    return seen


def _node(value: bytes) -> bytes:
    """A value of Forwarded, quoted where it is no token (RFC 7239 §4, §6)."""
    if b":" in value or b"[" in value:
        return b'"' + value + b'"'
    return value


def _proto(value: bytes) -> str:
    """The last scheme in X-Forwarded-Proto, "" unless it is one of ours."""
    last = value.rpartition(b",")[2].strip().lower()
    return {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}.get(last, "")


def _address(text: bytes) -> str:
    """The IP address in ``1.2.3.4``, ``1.2.3.4:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``; "" for anything else."""
    text = text.strip()
    if len(text) > 64:
        return ""
    if text.startswith(b"["):
        text, bracket, port = text[1:].partition(b"]")
        if not bracket or (port and not (port[:1] == b":" and port[1:].isdigit())):
            return ""
    elif text.count(b":") == 1:
        text, _, port = text.partition(b":")
        if not port.isdigit():
            return ""
    ip = text.decode("latin-1")
    return ip if "%" not in ip and address_number(ip) >= 0 else ""


def _last(values: list[bytes], count: int) -> list[bytes]:
    """The last ``count`` members of a list header, right-most first."""
    return b",".join(values).rsplit(b",", count)[-count:][::-1]


def _x_hops(head: RequestHead) -> list[_Hop]:
    """The addresses of X-Forwarded-For, right-most first."""
    values = head.header_values(b"x-forwarded-for")
    return [(_address(text), "") for text in _last(values, MAX_HOPS)] if values else []


def _forwarded_hops(head: RequestHead) -> list[_Hop]:
    """The elements of Forwarded (RFC 7239 §4), right-most first.

    A comma inside quotes splits an element wrongly, into what is no address: the search stops there.
    """
    hops = []
    for element in _last(head.header_values(b"forwarded"), MAX_HOPS):
        pairs = {}
        for part in element.split(b";"):
            name, _, value = part.strip().partition(b"=")
            pairs[name.lower()] = value.strip(b'"')
        hops.append((_address(pairs.get(b"for", b"")), _proto(pairs.get(b"proto", b""))))
    return hops
