"""PURE. Requests to a proxy for a connection: HTTP CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC
1928, RFC 1929).

The requested address is always an IP literal. Each class takes bytes and returns bytes.
"""

from __future__ import annotations

from base64 import b64encode
from ipaddress import IPv4Address, ip_address
from typing import Final, Protocol

__all__ = ["ConnectRequest", "Negotiation", "ProxyRefused", "SocksRequest"]

HEAD_MAX: Final = 8192
"""Maximum size of the head of a proxy's response to CONNECT in bytes."""


class ProxyRefused(Exception):
    """The proxy does not connect, or speaks another protocol. The message gives the reason."""


class Negotiation(Protocol):
    """One request to a proxy. ``done``: the connection leads to the target."""

    done: bool

    def begin(self) -> bytes:
        """Return the bytes to send first."""

    def receive(self, data: bytes) -> bytes:
        """Process bytes of the proxy, and return those to send.

        Raises :class:`ProxyRefused`, also for bytes after the end, because nothing has been sent to
        the target yet.
        """


class ConnectRequest:
    """CONNECT over HTTP/1.1. ``user`` and ``password``: for Basic, "" for none."""

    def __init__(self, host: str, port: int, user: str = "", password: str = "") -> None:
        shown = f"[{host}]" if ":" in host else host
        lines = [f"CONNECT {shown}:{port} HTTP/1.1", f"Host: {shown}:{port}"]
        if user:
            token = b64encode(f"{user}:{password}".encode()).decode("ascii")
            lines.append(f"Proxy-Authorization: Basic {token}")
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._head = b""
        self.done = False

    def begin(self) -> bytes:
        """See Negotiation."""
        return self._request

    def receive(self, data: bytes) -> bytes:
        """See Negotiation."""
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > HEAD_MAX:
                raise ProxyRefused("the answer of the proxy is too long")
            return b""
        words = self._head.partition(b"\r\n")[0].split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise ProxyRefused("the proxy does not speak HTTP/1")
        if not words[1].startswith(b"2"):
            raise ProxyRefused(f"the proxy answers {words[1][:3].decode('ascii')}")
        if len(self._head) > end + 4:
            raise ProxyRefused("the proxy sent bytes before the target got a request")
        self.done = True
        return b""


_REPLIES: Final = {
    1: "general failure",
    2: "not allowed",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}
_ADDRESS_SIZES: Final = {1: 4, 4: 16}


class SocksRequest:
    """SOCKS5. ``user`` and ``password``: "" for none; at most 255 bytes each."""

    def __init__(self, host: str, port: int, user: str = "", password: str = "") -> None:
        address = ip_address(host)
        kind = 1 if isinstance(address, IPv4Address) else 4
        self._connect = bytes((5, 1, 0, kind)) + address.packed + port.to_bytes(2, "big")
        self._user, self._password = user.encode()[:255], password.encode()[:255]
        self._data = b""
        self._step = "method"
        self.done = False

    def begin(self) -> bytes:
        """See Negotiation."""
        return b"\x05\x02\x00\x02" if self._user else b"\x05\x01\x00"

    def receive(self, data: bytes) -> bytes:
        """See Negotiation."""
        self._data += data
        if self._step == "reply":
            self._reply()
            return b""
        if len(self._data) < 2:
            return b""
        version, word = self._data[0], self._data[1]
        self._data = self._data[2:]
        if self._step == "method":
            return self._method(version, word)
        if word != 0:
            raise ProxyRefused("the proxy does not accept user and password")
        return self._ask()

    def _method(self, version: int, method: int) -> bytes:
        if version != 5:
            raise ProxyRefused("the proxy does not speak SOCKS5")
        if method == 0:
            return self._ask()
        if method != 2 or not self._user:
            raise ProxyRefused("the proxy wants another way to log in")
        self._step = "login"
        user, password = self._user, self._password
        return bytes((1, len(user))) + user + bytes((len(password),)) + password

    def _ask(self) -> bytes:
        self._step = "reply"
        if self._data:
            raise ProxyRefused("the proxy sent bytes before it got a request")
        return self._connect

    def _reply(self) -> None:
        data = self._data
        if len(data) < 2:
            return
        if data[0] != 5:
            raise ProxyRefused("the proxy does not speak SOCKS5")
        if data[1]:
            reason = _REPLIES.get(data[1], f"error {data[1]}")
            raise ProxyRefused(f"the proxy refuses the connection: {reason}")
        if len(data) < 5:
            return
        size = data[4] + 1 if data[3] == 3 else _ADDRESS_SIZES.get(data[3], -1)
        if size < 0:
            raise ProxyRefused("the proxy does not speak SOCKS5")
        left = len(data) - (4 + size + 2)
        if left > 0:
            raise ProxyRefused("the proxy sent bytes before the target got a request")
        self.done = left == 0
