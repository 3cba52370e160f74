"""PURE. The header fields that a frontend forwards to servers and clients, and the address of the
client.

The exchange calls :meth:`Forwarder.client` once when a request head is read, before any filter,
then :meth:`Forwarder.server_request` for each attempt and :meth:`Forwarder.response` for each
response head. The codec writes framing (Content-Length, Transfer-Encoding) and connection
management (Connection, Upgrade) from the attributes of the head.

The other side gets a head with the same lines (:mod:`lbproxy.http.derivedhead`), without a set of
names that is fixed when the frontend is created, and with the lines that this hop adds
(:mod:`lbproxy.http.hoplines`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from lbproxy.http.derivedhead import (
    PROTECTED,
    READ,
    X_LINES,
    host_as_sent,
    joined,
    lines_as_sent,
    remove_nominated,
    values_of,
    with_added,
    without_nominated,
)
from lbproxy.http.head import Head, Ours
from lbproxy.http.hoplines import MAX_LOOPS, MEMO, HopLines
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
)
from lbproxy.http.message import RequestHead, ResponseHead
from lbproxy.http.trustedhops import MAX_HOPS, TrustedHops

if TYPE_CHECKING:
    from lbproxy.model import FrontendSpec

__all__ = ["MAX_HOPS", "MAX_LOOPS", "PROTECTED", "Forwarder"]

_CLAIMS: Final = (
    1 << FORWARDED
    | 1 << X_FORWARDED_FOR
    | 1 << X_FORWARDED_PROTO
    | 1 << X_FORWARDED_HOST
    | 1 << X_FORWARDED_PORT
    | 1 << CLAIM
)
"""Headers that only a trusted proxy may send."""

_HOP: Final = (
    1 << CONNECTION
    | 1 << HOP_BY_HOP
    | 1 << PROXY_CONNECTION
    | 1 << TE
    | 1 << TRANSFER_ENCODING
    | 1 << UPGRADE
)
"""Hop-by-hop fields: those of RFC 9110 §7.6.1, and Proxy-Connection."""

_NOT_TO_SERVERS: Final = _HOP | 1 << HOST | 1 << CONTENT_LENGTH | 1 << DISGUISED


class _LatestLines:
    """The lines that this hop added to the latest request of a client, and their inputs.

    A client mostly requests the same host repeatedly, and comparing the inputs is cheaper than
    hashing all of them.
    """

    __slots__ = ("host", "local_port", "ours", "port", "scheme", "version")

    def __init__(
        self, head: RequestHead, port: int, scheme: str, local_port: int, ours: Ours
    ) -> None:
        self.host = head.host
        self.version = head.version
        self.port = port
        self.scheme = scheme
        self.local_port = local_port
        self.ours = ours

    def fits(self, head: RequestHead, port: int, scheme: str, local_port: int) -> bool:
        """Return whether ``head`` gets the same lines."""
        return (
            port == self.port
            and local_port == self.local_port
            and head.version == self.version
            and (scheme is self.scheme or scheme == self.scheme)
            and head.host == self.host
        )


class Forwarder:
    """The forwarding rules of one frontend, precomputed."""

    def __init__(self, spec: FrontendSpec) -> None:
        self._hops = TrustedHops(spec)
        self._lines = HopLines(spec)
        self._by_port = "rfc7239" in spec.forwarded  # the lines depend on the client's port
        named = self._named = self._lines.named
        not_to_servers = _NOT_TO_SERVERS
        not_to_clients = _HOP | 1 << CONTENT_LENGTH
        if named:
            not_to_servers |= 1 << VIA
            not_to_clients |= 1 << VIA
        if "x-forwarded" in spec.forwarded:
            not_to_servers |= X_LINES
        if self._by_port:
            not_to_servers |= 1 << FORWARDED
        if spec.server_header == "remove":
            not_to_clients |= 1 << SERVER
        self._not_to_servers: i64 = not_to_servers
        self._not_to_clients: i64 = not_to_clients
        self._read: i64 = READ & not_to_servers
        self._to_clients = {
            version: lines_as_sent([(b"Via", via)]) if named else None
            for version, via in self._lines.via.items()
        }
        self._to_clients_1_1 = self._to_clients[11]  # the lines of nearly all responses
        self._to_servers: dict[tuple[str, int, str, int, bytes, int], Ours] = {}
        self._latest: dict[str, _LatestLines] = {}  # by client address

    # -- the client -----------------------------------------------------------------------------

    def client(
        self, peer_ip: str, head: RequestHead, scheme: str = "", peer_port: int = 0
    ) -> tuple[str, int, str]:
        """Return address and port of the real client and its scheme, and clean ``head``.

        ``peer_ip`` and ``peer_port``: the peer of the connection, or the source in a trusted PROXY
        header (:attr:`ConnectionInfo.client_ip`). ``scheme``: of the connection; "" for that of the
        head. The returned port is 0 if a proxy has not sent one with the address.

        Unless ``peer_ip`` is in ``trusted_proxies``, its lines that only a proxy may send (such as
        X-Forwarded-*, Forwarded and X-Real-IP) and those of ``real_ip`` are removed, in every
        spelling with ``_``. If it is trusted, the client is the address in ``real_ip``, or the
        right-most address in X-Forwarded-For (or Forwarded) that is not trusted itself. The search
        stops at an invalid address and after :data:`MAX_HOPS`. The first header in the frontend's
        ``forwarded`` that the request has is read. The headers that this hop writes agree with it.
        Fields that Connection nominates are removed here too (except :data:`PROTECTED` ones and
        ``real_ip``), so that a client cannot remove fields that a filter adds later. Call this once
        per request, before the filters.
        """
        scheme = scheme or head.scheme.decode("ascii", "replace")
        hops = self._hops
        if head.nominated:
            named = [name for name in head.nominated if name not in hops.real_ip]
            remove_nominated(head, named)
            head.nominated = ()
        if head.listed or hops.real_ip or head.present & _CLAIMS:
            if peer_ip in hops.addresses:
                return hops.client(peer_ip, peer_port, scheme, head)
            head.drop(_CLAIMS)
            for name in hops.real_ip:
                head.remove_header(name)
        return peer_ip, peer_port, scheme

    # -- to the server --------------------------------------------------------------------------

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
        """Return the head for a server; ``head`` is unchanged.

        ``client_ip``, ``client_port``, ``local_port``: of the *connection*
        (:class:`ConnectionInfo`), because this hop can only vouch for that; the address that
        :meth:`client` found is in X-Forwarded-For already. ``scheme``: from :meth:`client`.
        ``host_header`` replaces the Host, b"" keeps it.

        Hop-by-hop fields, Content-Length and Transfer-Encoding, also spelled with ``_``, are left
        out. X-Forwarded-Proto, -Host and -Port of a trusted proxy or a filter stay. This hop is
        appended to -For, Forwarded and Via.

        Raises :class:`ProxyError` LOOP_DETECTED if Via names this proxy :data:`MAX_LOOPS` times;
        ValueError and TypeError if a filter has put something into ``head`` that cannot be sent.
        """
        source: Head = with_added(head, self._not_to_servers)
        if head.nominated:
            source = without_nominated(source, head.nominated)
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
        out.host_line = host_header or (head.host if head.host_line is None else host_as_sent(head))
        if source.added is not None:
            out.before = source.added.copy()
        if source.present & self._read:
            seen = values_of(source, self._read)
            pairs = self._lines.lines(head, seen, client_ip, client_port, scheme, local_port)
            out.ours = lines_as_sent(pairs)
            return out
        port = client_port if self._by_port else 0
        latest = self._latest.get(client_ip)
        if latest is not None and latest.fits(head, port, scheme, local_port):
            out.ours = latest.ours
        else:
            out.ours = self._remembered(head, client_ip, port, scheme, local_port)
        return out

    def _remembered(
        self, head: RequestHead, client_ip: str, port: int, scheme: str, local_port: int
    ) -> Ours:
        """Return the lines of this hop for a head without the fields that they depend on, cached by
        their other inputs.
        """
        key = (client_ip, port, scheme, local_port, head.host, head.version)
        ours = self._to_servers.get(key)
        if ours is None:
            ours = lines_as_sent(self._lines.lines(head, None, client_ip, port, scheme, local_port))
            if len(self._to_servers) >= MEMO:
                self._to_servers.clear()
            self._to_servers[key] = ours
        if len(self._latest) >= MEMO:
            self._latest.clear()
        self._latest[client_ip] = _LatestLines(head, port, scheme, local_port, ours)
        return ours

    def loop_detected(self, head: RequestHead) -> bool:
        """Return whether Via names this proxy :data:`MAX_LOOPS` times or more; always False with
        ``via = none``.

        :meth:`server_request` checks this itself. Other callers can refuse a loop earlier.
        """
        return self._lines.loop_detected(head)

    def onward_via(self, head: RequestHead) -> bytes:
        """Return the Via of a request made by a source: that of ``head`` plus this hop.

        Empty with ``via = none``.
        """
        return self._lines.onward_via(head)

    # -- to the client --------------------------------------------------------------------------

    def response(self, head: ResponseHead, *, client_version: int = 11) -> ResponseHead:
        """Return the head for a client that uses ``client_version`` (10, 11, 20); ``head`` is
        unchanged.

        Hop-by-hop fields are left out, and so are those that Connection nominates (except
        :data:`PROTECTED` ones) and, if the frontend removes it, Server. This hop is appended to
        Via. Trailer is left out for HTTP/1.0, which has no chunked coding.

        Content-Length stays if ``head.length`` is 0, because it may describe the body of a HEAD or
        304 response, which only the codec knows. A 1xx or 204 must not have one (RFC 9110 §8.6).

        A 426 keeps Upgrade, which names the protocols that it requires (RFC 9110 §15.5.22).
        """
        source: Head = with_added(head, self._not_to_clients)
        if head.nominated:
            source = without_nominated(source, head.nominated)
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
        before, added = source.before, source.added
        if added is not None:
            out.before = added.copy() if before is None else [*before, *added]
        else:
            out.before = before
        if self._named:
            if source.present >> VIA & 1:
                earlier = joined(source, VIA)
                via = self._lines.via[head.version]
                out.ours = lines_as_sent([(b"Via", earlier + b", " + via if earlier else via)])
            else:
                via_1_1 = self._to_clients_1_1
                out.ours = via_1_1 if head.version == 11 else self._to_clients[head.version]
        if head.status == 101 and head.upgrade:
            out.add_header(b"Upgrade", head.upgrade)
        return out


def _may_have_length(status: int) -> bool:
    return status >= 200 and status != 204
