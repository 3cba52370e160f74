"""PURE. The client of a request from a trusted proxy (``trusted_proxies``)."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from lbproxy.guard.addresses import AddressSet, split_address
from lbproxy.http.forwarded import elements
from lbproxy.http.hoplines import bracketed, forwarded_node
from lbproxy.http.message import RequestHead

if TYPE_CHECKING:
    from lbproxy.model import FrontendSpec

__all__ = ["MAX_HOPS", "TrustedHops", "spellings"]

MAX_HOPS: Final = 32
"""Maximum number of addresses of X-Forwarded-For that are read, from the right."""

_Hop = tuple[str, int, str]
"""Address ("" if invalid), port (0 if unknown) and scheme ("" if unknown) of one hop."""


class _Client:
    """The client, according to the hops followed so far.

    ``chain``: the addresses of the hops, nearest first.
    """

    __slots__ = ("chain", "ip", "port", "scheme")

    def __init__(self, ip: str, port: int, scheme: str) -> None:
        self.ip = ip
        self.port = port
        self.scheme = scheme
        self.chain: list[str] = []

    def follow(self, hops: list[_Hop], trusted: AddressSet) -> None:
        """Follow hops, right-most first, up to the first untrusted one."""
        for ip, port, proto in hops:
            if not ip:
                break
            self.ip = ip
            self.port = port
            self.scheme = proto or self.scheme
            self.chain.append(ip)
            if ip not in trusted:
                break


class TrustedHops:
    """The trusted proxies of one frontend, and the headers that report the client.

    ``addresses``: their addresses. ``real_ip``: the spellings of the header of that key.
    """

    def __init__(self, spec: FrontendSpec) -> None:
        self.addresses = AddressSet(spec.trusted_proxies)
        self.real_ip: tuple[bytes, ...] = (
            spellings(spec.real_ip.lower().encode("ascii")) if spec.real_ip else ()
        )
        self._x = "x-forwarded" in spec.forwarded
        self._rfc7239 = "rfc7239" in spec.forwarded
        self._reads = ("rfc7239", "x-forwarded")
        if self._x and (not self._rfc7239 or spec.forwarded[0] == "x-forwarded"):
            self._reads = ("x-forwarded", "rfc7239")

    def client(
        self, peer_ip: str, peer_port: int, scheme: str, head: RequestHead
    ) -> tuple[str, int, str]:
        """Return address, port and scheme of the client that the trusted ``peer_ip`` reports."""
        client = _Client(peer_ip, peer_port, scheme)
        source = "real_ip" if self.real_ip and self._take_real_ip(client, head) else ""
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
                    client.follow(hops, self.addresses)
                    source = family
                    break
        if client.chain and (self._rfc7239 or source != "x-forwarded"):
            self._agree(client, head, source)
        self._drop_others(client, head, source if client.chain else "")
        return client.ip, client.port, client.scheme

    def _take_real_ip(self, client: _Client, head: RequestHead) -> bool:
        values = head.header_values(self.real_ip[0])
        ip, port = split_address(values[0]) if len(values) == 1 else ("", 0)
        if ip:
            client.follow([(ip, port, "")], self.addresses)
        return bool(ip)

    def _agree(self, client: _Client, head: RequestHead, source: str) -> None:
        """Change headers that this hop extends if they name another client than ``client``."""
        peer = _Client("", 0, "")
        if self._x and source != "x-forwarded":
            peer.follow(_x_hops(head), self.addresses)
            if peer.ip != client.ip:
                addresses = [ip.encode("ascii") for ip in reversed(client.chain)]
                head.set_header(b"X-Forwarded-For", b", ".join(addresses))
        if self._rfc7239 and source != "rfc7239":
            peer = _Client("", 0, "")
            peer.follow(_forwarded_hops(head), self.addresses)
            if peer.ip != client.ip:
                nodes = [
                    forwarded_node(bracketed(ip.encode("ascii"))) for ip in reversed(client.chain)
                ]
                head.set_header(b"Forwarded", b", ".join([b"for=" + node for node in nodes]))

    def _drop_others(self, client: _Client, head: RequestHead, source: str) -> None:
        """Remove a header that names another client and that :meth:`_agree` has not changed.

        A header that this hop extends may name no client; then this hop is the last known one.
        """
        agreed = bool(client.chain)
        if source != "rfc7239" and not (self._rfc7239 and agreed):
            named = _Client("", 0, "")
            named.follow(_forwarded_hops(head), self.addresses)
            if named.ip != client.ip and (named.ip or not self._rfc7239):
                head.remove_header(b"forwarded")
        if source != "x-forwarded" and not (self._x and agreed):
            named = _Client("", 0, "")
            named.follow(_x_hops(head), self.addresses)
            if named.ip != client.ip and (named.ip or not self._x):
                head.remove_header(b"x-forwarded-for")


def spellings(name: bytes) -> tuple[bytes, ...]:
    """Return ``name``, and the spellings that CGI-like gateways confuse with it: ``_`` for ``-``.

    RFC 3875 §4.1.18.
    """
    parts = [(b"-", b"_") if char == 45 else (bytes((char,)),) for char in name]
    return tuple(map(b"".join, product(*parts)))


def _proto(value: bytes) -> str:
    """Return the last scheme in X-Forwarded-Proto, "" if it is unknown."""
    last = value.rpartition(b",")[2].strip().lower()
    return {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}.get(last, "")


def _x_hops(head: RequestHead) -> list[_Hop]:
    """Return the addresses of X-Forwarded-For, right-most first.

    Empty members of a list are ignored (RFC 9110 §5.6.1).
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
    """Return the elements of Forwarded (RFC 7239 §4), right-most first."""
    values = head.header_values(b"forwarded")
    if not values:
        return []
    hops: list[_Hop] = []
    for element in elements(b",".join(values), MAX_HOPS):
        ip, port = split_address(element.get(b"for", b""))
        hops.append((ip, port, _proto(element.get(b"proto", b""))))
    return hops
