"""PURE. Which headers go to servers and back to clients, and who the client is; one object per
frontend.

The exchange calls :meth:`Forwarder.client` once when a request head is read, before any filter,
then :meth:`Forwarder.server_request` for each attempt and :meth:`Forwarder.response` for each
response head. Framing (Content-Length, Transfer-Encoding) and connection management (Connection,
Upgrade) are the codec's: it writes them from the head's attributes.

What goes to the other side is a head over the same lines: a set of names that are left out, settled
when the frontend is made, and the lines that this hop adds.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from lbproxy.errors import Kind, ProxyError
from lbproxy.guard.addresses import AddressSet, split_address
from lbproxy.http.forwarded import elements
from lbproxy.http.h1_write import add_line
from lbproxy.http.head import Head, Ours
from lbproxy.http.known import (
    CLAIM,
    CONNECTION,
    CONTENT_LENGTH,
    DISGUISED,
    FORWARDED,
    HOP_BY_HOP,
    HOST,
    PROXY_CONNECTION,
    SERVER,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VIA,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PORT,
    X_FORWARDED_PROTO,
    field_name,
)
from lbproxy.http.message import Headers, RequestHead, ResponseHead
from lbproxy.http.scan import lines_of
from lbproxy.http.syntax import list_members

if TYPE_CHECKING:
    from lbproxy.model import FrontendSpec

__all__ = ["MAX_HOPS", "MAX_LOOPS", "PROTECTED", "Forwarder"]

MAX_HOPS: Final = 32
"""Most addresses of X-Forwarded-For that are looked at, from the right."""

MAX_LOOPS: Final = 10
"""So often our name may stand in Via: proxies legitimately meet a request again, but not for ever.
"""

_MEMO: Final = 4096  # clients whose lines are remembered; about 2 MiB when full

PROTECTED: Final = frozenset(
    b"host content-length content-type content-encoding content-range content-location "
    b"transfer-encoding trailer date expect range cache-control pragma expires age vary etag "
    b"authorization www-authenticate cookie set-cookie origin referer location max-forwards via "
    b"forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-real-ip "
    b"strict-transport-security content-security-policy".split()
)
"""Fields that Connection cannot name away: they are for every recipient, or say who may do what
(RFC 9110 §7.6.1).
"""

_CLAIMS: Final = (
    1 << FORWARDED
    | 1 << X_FORWARDED_FOR
    | 1 << X_FORWARDED_PROTO
    | 1 << X_FORWARDED_HOST
    | 1 << X_FORWARDED_PORT
    | 1 << CLAIM
)
"""Headers that only a trusted proxy may send."""
_X_LINES: Final = (
    1 << X_FORWARDED_FOR | 1 << X_FORWARDED_PROTO | 1 << X_FORWARDED_HOST | 1 << X_FORWARDED_PORT
)
_HOP: Final = (
    1 << CONNECTION
    | 1 << HOP_BY_HOP
    | 1 << PROXY_CONNECTION
    | 1 << TE
    | 1 << TRANSFER_ENCODING
    | 1 << UPGRADE
)
"""RFC 9110 §7.6.1, and what else is between two neighbours only."""
_NOT_TO_SERVERS: Final = _HOP | 1 << HOST | 1 << CONTENT_LENGTH | 1 << DISGUISED
_READ: Final = 1 << VIA | 1 << FORWARDED | 1 << TE | _X_LINES
"""Request fields whose values matter for the lines that this hop adds."""
_NAMES: Final = {
    VIA: b"via",
    FORWARDED: b"forwarded",
    TE: b"te",
    X_FORWARDED_FOR: b"x-forwarded-for",
    X_FORWARDED_PROTO: b"x-forwarded-proto",
    X_FORWARDED_HOST: b"x-forwarded-host",
    X_FORWARDED_PORT: b"x-forwarded-port",
}

_VIA_VERSION: Final = {10: b"1.0 ", 11: b"1.1 ", 20: b"2.0 ", 30: b"3.0 "}

_Line = tuple[bytes, bytes]
_Own = tuple[_Line, _Line, _Line, bytes, bytes]
"""X-Forwarded-For, -Proto, -Port, and what stands before and behind the host in Forwarded."""


class Forwarder:
    """The forwarding rules of one frontend, precomputed."""

    def __init__(self, spec: FrontendSpec) -> None:
        self._trusted = AddressSet(spec.trusted_proxies)
        self._real_ip: tuple[bytes, ...] = (
            _spellings(spec.real_ip.lower().encode("ascii")) if spec.real_ip else ()
        )
        self._x = "x-forwarded" in spec.forwarded
        self._rfc7239 = "rfc7239" in spec.forwarded
        name = b"" if spec.via == "none" else spec.via.encode("ascii", "replace")
        self._name = name.lower()
        self._via = {version: start + name for version, start in _VIA_VERSION.items()}
        not_to_servers = _NOT_TO_SERVERS
        not_to_clients = _HOP | 1 << CONTENT_LENGTH
        if name:
            not_to_servers |= 1 << VIA
            not_to_clients |= 1 << VIA
        if self._x:
            not_to_servers |= _X_LINES
        if self._rfc7239:
            not_to_servers |= 1 << FORWARDED
        if spec.server_header == "remove":
            not_to_clients |= 1 << SERVER
        self._not_to_servers: i64 = not_to_servers
        self._not_to_clients: i64 = not_to_clients
        self._read: i64 = _READ & not_to_servers
        self._to_clients = {
            version: _ours([(b"Via", via)]) if name else None for version, via in self._via.items()
        }
        self._reads = ("rfc7239", "x-forwarded")
        if self._x and (not self._rfc7239 or spec.forwarded[0] == "x-forwarded"):
            self._reads = ("x-forwarded", "rfc7239")
        self._memo: dict[tuple[str, int, str, int], _Own] = {}
        self._to_servers: dict[tuple[str, int, str, int, bytes, int], Ours] = {}

    # --- who the client is

    def client(
        self, peer_ip: str, head: RequestHead, scheme: str = "", peer_port: int = 0
    ) -> tuple[str, int, str]:
        """Return address and port of the real client, and its scheme.

        ``head`` is cleared of what the peer may not say. ``peer_ip`` and ``peer_port``: the other
        end of the connection, or what a trusted PROXY header said
        (:attr:`ConnectionInfo.client_ip`). ``scheme``: of the connection; "" takes the head's. The
        port comes with the address; 0 if a proxy did not say it.

        Unless ``peer_ip`` is in ``trusted_proxies`` its X-Forwarded-*, Forwarded and X-Real-IP
        lines and those of ``real_ip`` are removed, in every spelling with ``_``. If it is, the
        client is the address in ``real_ip``, or the right-most address in X-Forwarded-For (or
        Forwarded) that is not trusted itself. The search stops at what is no address and after
        :data:`MAX_HOPS`. The header read is the first in the frontend's ``forwarded`` that the
        request has. The headers that this hop writes are made to agree with it.

        Fields that Connection nominates are removed here too (not :data:`PROTECTED` ones and
        ``real_ip``), so that nothing a filter adds later can be named away. Call it once per
        request, before the filters.
        """
        scheme = scheme or head.scheme.decode("ascii", "replace")
        if head.nominated:
            named = [name for name in head.nominated if name not in self._real_ip]
            _remove_nominated(head, named)
            head.nominated = ()
        if head.listed or self._real_ip or head.present & _CLAIMS:
            if peer_ip in self._trusted:
                return self._believe(_Client(peer_ip, peer_port, scheme), head)
            head.drop(_CLAIMS)
            for name in self._real_ip:
                head.remove_header(name)
        return peer_ip, peer_port, scheme

    def _believe(self, client: _Client, head: RequestHead) -> tuple[str, int, str]:
        """The client that a trusted proxy speaks for."""
        source = "real_ip" if self._real_ip and self._take_real_ip(client, head) else ""
        protos = head.header_values(b"x-forwarded-proto")
        if source:
            client.scheme = (_proto(protos[-1]) if protos else "") or client.scheme
        else:
            for family in self._reads:
                if family == "x-forwarded":
                    client.scheme = (_proto(protos[-1]) if protos else "") or client.scheme
                    hops = _x_hops(head)
                else:
                    hops = _forwarded_hops(head)
                if hops:
                    client.follow(hops, self._trusted)
                    source = family
                    break
        if client.chain and (self._rfc7239 or source != "x-forwarded"):
            self._agree(client, head, source)
        self._drop_others(client, head, source if client.chain else "")
        return client.ip, client.port, client.scheme

    def _take_real_ip(self, client: _Client, head: RequestHead) -> bool:
        values = head.header_values(self._real_ip[0])
        ip, port = split_address(values[0]) if len(values) == 1 else ("", 0)
        if ip:
            client.follow([(ip, port, "")], self._trusted)
        return bool(ip)

    def _agree(self, client: _Client, head: RequestHead, source: str) -> None:
        """Let no header that this hop appends to name another client than ``client``."""
        peer = _Client("", 0, "")
        if self._x and source != "x-forwarded":
            peer.follow(_x_hops(head), self._trusted)
            if peer.ip != client.ip:
                addresses = [ip.encode("ascii") for ip in reversed(client.chain)]
                head.set_header(b"X-Forwarded-For", b", ".join(addresses))
        if self._rfc7239 and source != "rfc7239":
            peer = _Client("", 0, "")
            peer.follow(_forwarded_hops(head), self._trusted)
            if peer.ip != client.ip:
                nodes = [_node(_bracketed(ip.encode("ascii"))) for ip in reversed(client.chain)]
                head.set_header(b"Forwarded", b", ".join([b"for=" + node for node in nodes]))

    def _drop_others(self, client: _Client, head: RequestHead, source: str) -> None:
        """Remove a header that this hop does not append to, unless it names the same client."""
        if not self._rfc7239 and source != "rfc7239" and head.header_values(b"forwarded"):
            named = _Client("", 0, "")
            named.follow(_forwarded_hops(head), self._trusted)
            if named.ip != client.ip:
                head.remove_header(b"forwarded")
        if not self._x and source != "x-forwarded" and head.header_values(b"x-forwarded-for"):
            named = _Client("", 0, "")
            named.follow(_x_hops(head), self._trusted)
            if named.ip != client.ip:
                head.remove_header(b"x-forwarded-for")

    # --- to the server

    def server_request(
        self,
        head: RequestHead,
        *,
        client_ip: str,
        client_port: int = 0,
        scheme: str,
        local_port: int = 0,
        host_header: bytes = b"",
    ) -> RequestHead:
        """The head for a server; ``head`` stays as it is.

        ``client_ip``, ``client_port``, ``local_port``: of the *connection*
        (:class:`ConnectionInfo`): this hop is what we vouch for, what :meth:`client` found stands
        in X-Forwarded-For already. ``scheme``: what :meth:`client` gave. ``host_header`` replaces
        the Host, b"" keeps it.

        Hop-by-hop fields, Content-Length and Transfer-Encoding, also spelled with ``_``, are gone.
        Present X-Forwarded-Proto, -Host and -Port (of a trusted proxy, or set by a filter) stay;
        -For, Forwarded and Via get this hop appended.

        Raises :class:`ProxyError` LOOP_DETECTED when our name stands in Via :data:`MAX_LOOPS`
        times; ValueError and TypeError for what a filter put into ``head`` and cannot be sent.
        """
        source: Head = _with_added(head, self._not_to_servers)
        if head.nominated:
            source = _without_nominated(source, head.nominated)
        out = RequestHead(
            head.method,
            head.target,
            None,
            11,
            head.host,
            head.scheme,
            head.length,
            True,
            head.upgrade,
            head.expect_continue,
            (),
            source.lines,
        )
        out.checked = head.checked
        out.gone = source.gone
        out.without = source.without | self._not_to_servers
        out.host_line = host_header or (
            head.host if head.host_line is None else _host_as_sent(head)
        )
        if source.added is not None:
            out.before = source.added.copy()
        if source.present & self._read:
            seen = _seen(source, self._read)
            pairs = self._own(head, seen, client_ip, client_port, scheme, local_port)
            out.ours = _ours(pairs)
            return out
        key = (
            client_ip,
            client_port if self._rfc7239 else 0,
            scheme,
            local_port,
            head.host,
            head.version,
        )
        ours = self._to_servers.get(key)
        if ours is None:
            ours = _ours(self._own(head, None, client_ip, client_port, scheme, local_port))
            if len(self._to_servers) >= _MEMO:
                self._to_servers.clear()
            self._to_servers[key] = ours
        out.ours = ours
        return out

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
        if seen and head.version > 10 and b"trailers" in list_members(seen.get(b"te", b"")):
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
        # a comma at the end would make an empty hop of ours (RFC 9110 §5.6.1)
        before = seen.get(b"x-forwarded-for", b"").rstrip(b", \t")
        hops = [value for value in (before, own_for[1]) if value]
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
            node = _bracketed(ip)
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
        """Whether our name stands in Via :data:`MAX_LOOPS` times or more; always False with ``via =
        none``.

        :meth:`request_headers` looks by itself; this is for callers that want to know earlier.
        """
        if not self._name:
            return False
        values = head.header_values(b"via")
        return bool(values) and self._loops(b",".join(values)) >= MAX_LOOPS

    def onward_via(self, head: RequestHead) -> bytes:
        """Return the Via of a request that a source sends by itself: that of ``head`` and this hop.

        Empty with ``via = none``.
        """
        if not self._name:
            return b""
        return b", ".join([*head.header_values(b"via"), self._via[head.version]])

    # --- to the client

    def response(self, head: ResponseHead, *, client_version: int = 11) -> ResponseHead:
        """The head for a client that speaks ``client_version`` (10, 11, 20); ``head`` stays as it
        is.

        Hop-by-hop fields are gone, and the ones Connection nominates (not :data:`PROTECTED` ones);
        Via has this hop; Server is there or not, as the frontend says. Trailer goes with the
        chunked coding, which HTTP/1.0 lacks.

        Content-Length stays where ``head.length`` is 0, as it may describe the body of a HEAD or
        304 answer, which only the codec can tell; it is gone from a 1xx and 204, which must not
        have one (RFC 9110 §8.6).

        A 426 keeps Upgrade, which names the protocols that it requires (RFC 9110 §15.5.22).
        """
        source: Head = _with_added(head, self._not_to_clients)
        if head.nominated:
            source = _without_nominated(source, head.nominated)
        out = ResponseHead(
            head.status, None, head.reason, head.version, head.length, lines=source.lines
        )
        without: i64 = self._not_to_clients
        if head.length == 0 and _may_have_length(head.status):
            without &= ~(1 << CONTENT_LENGTH)
        if client_version < 11:
            without |= 1 << TRAILER
        if head.status == 426:
            without &= ~(1 << UPGRADE)
        out.gone = source.gone
        out.without = source.without | without
        if source.added is not None:
            out.before = source.added.copy()
        if self._name:
            if source.present >> VIA & 1:
                before = _joined(source, VIA)
                via = self._via[head.version]
                out.ours = _ours([(b"Via", before + b", " + via if before else via)])
            else:
                out.ours = self._to_clients[head.version]
        if head.status == 101 and head.upgrade:
            out.add_header(b"Upgrade", head.upgrade)
        return out


def _host_as_sent(head: RequestHead) -> bytes:
    """The Host as the client spelled it, unless it now is another one than by its case."""
    sent = head.lines.value(HOST)
    return sent if sent.lower() == head.host else head.host


def _with_added(head: Head, special: i64) -> Head:
    """``head``, or the same in lines alone if a list or an added line has a say in what passes."""
    if head.listed:
        return head.settled()
    if head.added is not None:
        for name, _ in head.added:
            if (special | _READ) >> field_name(name).number & 1:
                return Head(None, lines_of(head.pairs()))
    return head


def _remove_nominated(head: Head, nominated: Iterable[bytes]) -> None:
    head.remove_headers(frozenset(nominated) - PROTECTED)


def _without_nominated(source: Head, nominated: tuple[bytes, ...]) -> Head:
    """A copy of ``source``, in lines alone, without what Connection nominates."""
    copy = Head(None, source.lines)
    copy.without = source.without
    copy.gone = source.gone
    if source.added is not None:
        copy.added = source.added.copy()
    _remove_nominated(copy, nominated)
    return copy.settled()  # a list, if a line behind those that ``gone`` counts was removed


def _seen(head: Head, read: i64) -> dict[bytes, bytes]:
    """The values of the fields in the set ``read`` that ``head`` has, by name."""
    return {
        name: _joined(head, number)
        for number, name in _NAMES.items()
        if (head.present & read) >> number & 1
    }


def _joined(head: Head, number: int) -> bytes:
    """The lines of a list as one value (RFC 9110 §5.3)."""
    found = b""
    for value in head.lines.values(number):
        found = found + b", " + value if found else value
    return found


def _ours(pairs: Headers) -> Ours:
    """Lines as they are sent.  ValueError if they cannot be."""
    writer = BytesWriter()
    te = False
    for name, value in pairs:
        add_line(writer, name, value)
        te = te or name == b"TE"
    return Ours(pairs, writer.getvalue(), te)


def _may_have_length(status: int) -> bool:
    return status >= 200 and status != 204


_Hop = tuple[str, int, str]
"""An address, "" for what is none, its port or 0, and its scheme, "" if that was not said."""


class _Client:
    """The client, as far as the hops have been followed.

    ``chain``: the addresses of the hops, nearest first.
    """

    __slots__ = ("chain", "ip", "port", "scheme")

    def __init__(self, ip: str, port: int, scheme: str) -> None:
        self.ip = ip
        self.port = port
        self.scheme = scheme
        self.chain: list[str] = []

    def follow(self, hops: list[_Hop], trusted: AddressSet) -> None:
        """Each hop, right-most first, is believed because the one right of it is trusted."""
        for ip, port, proto in hops:
            if not ip:
                break
            self.ip = ip
            self.port = port
            self.scheme = proto or self.scheme
            self.chain.append(ip)
            if ip not in trusted:
                break


def _spellings(name: bytes) -> tuple[bytes, ...]:
    """Return ``name``, and what CGI-like gateways take for it, with ``_`` for some hyphens.

    RFC 3875 §4.1.18.
    """
    parts = [(b"-", b"_") if char == 45 else (bytes((char,)),) for char in name]
    return tuple(map(b"".join, product(*parts)))


def _bracketed(ip: bytes) -> bytes:
    return b"[" + ip + b"]" if b":" in ip else ip


def _node(value: bytes) -> bytes:
    """A value of Forwarded, quoted where it is no token (RFC 7239 §4, §6)."""
    if b":" in value or b"[" in value:
        return b'"' + value + b'"'
    return value


def _proto(value: bytes) -> str:
    """The last scheme in X-Forwarded-Proto, "" unless it is one of ours."""
    last = value.rpartition(b",")[2].strip().lower()
    return {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}.get(last, "")


def _x_hops(head: RequestHead) -> list[_Hop]:
    """Return the addresses of X-Forwarded-For, right-most first.

    Empty members of a list do not count (RFC 9110 §5.6.1).
    """
    values = head.header_values(b"x-forwarded-for")
    if not values:
        return []
    hops: list[_Hop] = []
    for text in b",".join(values).rsplit(b",", MAX_HOPS)[-MAX_HOPS:][::-1]:
        if text.strip(b" \t"):
            ip, port = split_address(text)
            hops.append((ip, port, ""))
    return hops


def _forwarded_hops(head: RequestHead) -> list[_Hop]:
    """The elements of Forwarded (RFC 7239 §4), right-most first."""
    values = head.header_values(b"forwarded")
    if not values:
        return []
    hops: list[_Hop] = []
    for element in elements(b",".join(values), MAX_HOPS):
        ip, port = split_address(element.get(b"for", b""))
        hops.append((ip, port, _proto(element.get(b"proto", b""))))
    return hops
