"""The attacks by clients: each keeps a proxy busy in a way that costs the attacker little."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Mapping

from attrs import frozen

from tests.siege.pace import Pace

__all__ = ["ATTACKS", "Attack", "Ports"]

HEAD = b"Host: siege.example\r\n"
GET = b"GET /small HTTP/1.1\r\n" + HEAD + b"\r\n"
BIG = b"GET /big HTTP/1.1\r\n" + HEAD + b"\r\n"
POST = b"POST /sink HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST
SEND_MAX = 60_000  # bytes that one client sends ahead


@frozen
class Ports:
    """Where a proxy listens. ``admin``: lbproxy's API; 0: none."""

    http: int
    tls: int
    proxied: int
    admin: int = 0


@frozen
class Attack:
    """``run(ports, pace, most)``: at most ``most`` connections at a time, ``rate`` steps a second.

    ``admin``: it attacks the admin API, which only lbproxy has; ``tokens``: one that needs a token.
    """

    name: str
    run: Callable[[Ports, Pace, int], None]
    rate: float
    most: int
    admin: bool = False
    tokens: bool = False


def connect(port: int, timeout: float = 2.0) -> socket.socket | None:
    """A connection, or None if the proxy does not take one."""
    try:
        sock = socket.create_connection(("127.0.0.1", port), timeout)
    except OSError:
        return None
    sock.setblocking(False)
    return sock


def send(sock: socket.socket, data: bytes) -> int:
    """Send what the kernel takes now; -1 if the connection has ended."""
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return -1


def close(sock: socket.socket, *, reset: bool = False) -> None:
    """End a connection, with RST if ``reset``."""
    with contextlib.suppress(OSError):
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()


def drop_input(sock: socket.socket) -> None:
    """Read and forget what has arrived."""
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


def _hold(port: int, pace: Pace, most: int, data: bytes, *, small: bool = False) -> None:
    """Open connections, send ``data`` on each, read nothing, keep them to the end."""
    held = []
    while len(held) < most and pace.go():
        sock = connect(port)
        if sock is None:
            continue
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if data:
            send(sock, data)
        held.append(sock)
    pace.hold()
    for sock in held:
        close(sock, reset=True)


def _drip(port: int, pace: Pace, most: int, begin: bytes, drop: bytes) -> None:
    """Connections that send ``begin``, and then ``drop`` now and then."""
    held: list[socket.socket] = []
    while pace.go():
        if len(held) < most:
            sock = connect(port)
            if sock is not None:
                send(sock, begin)
                held.append(sock)
            continue
        sock = held.pop(0)
        if send(sock, drop) < 0:
            close(sock)
        else:
            held.append(sock)
    for sock in held:
        close(sock, reset=True)


def _stream(port: int, pace: Pace, most: int, begin: bytes, data: bytes) -> None:
    """Connections that send ``begin`` and then ``data`` again and again, as fast as paced."""
    held: list[tuple[socket.socket, bytes]] = []
    while pace.go():
        if len(held) < most:
            sock = connect(port)
            if sock is not None:
                held.append((sock, begin))
            continue
        sock, rest = held.pop(0)
        drop_input(sock)
        rest = rest or data
        sent = send(sock, rest)
        if sent < 0:
            close(sock)
        else:
            held.append((sock, rest[sent:]))
    for sock, _ in held:
        close(sock, reset=True)


def pipelined(ports: Ports, pace: Pace, most: int) -> None:
    """Tiny pipelined requests whose responses are not read."""
    _hold(ports.http, pace, most, GET * (SEND_MAX // len(GET)))


def idle(ports: Ports, pace: Pace, most: int) -> None:
    """Connections on which one request was made."""
    _hold(ports.http, pace, most, GET)


def silent(ports: Ports, pace: Pace, most: int) -> None:
    """Connections that never send anything."""
    _hold(ports.http, pace, most, b"")


def resets(ports: Ports, pace: Pace, most: int) -> None:
    """Connect, send two requests, reset."""
    while pace.go():
        sock = connect(ports.http)
        if sock is not None:
            send(sock, GET * 2)
            close(sock, reset=True)


def slow_heads(ports: Ports, pace: Pace, most: int) -> None:
    """Heads that arrive byte by byte."""
    _drip(ports.http, pace, most, b"GET /small HTTP/1.1\r\nX-A: ", b"a")


def slow_bodies(ports: Ports, pace: Pace, most: int) -> None:
    """Bodies that arrive byte by byte."""
    begin = b"POST /sink HTTP/1.1\r\n" + HEAD + b"Content-Length: 100000\r\n\r\n"
    _drip(ports.http, pace, most, begin, b"a")


def slow_reads(ports: Ports, pace: Pace, most: int) -> None:
    """Large responses that are not read."""
    _hold(ports.http, pace, most, BIG, small=True)


def chunks(ports: Ports, pace: Pace, most: int) -> None:
    """Bodies in chunks of one byte."""
    _stream(ports.http, pace, most, POST, b"1\r\na\r\n" * 4000)


def chunk_extensions(ports: Ports, pace: Pace, most: int) -> None:
    """Chunks of one byte with long extensions."""
    _stream(ports.http, pace, most, POST, (b"1;" + b"x" * 200 + b"\r\na\r\n") * 200)


def cookies(ports: Ports, pace: Pace, most: int) -> None:
    """Requests with 7 KB of tiny cookies."""
    bomb = b"; ".join(b"c%d=1" % n for n in range(900))
    request = b"GET /small HTTP/1.1\r\n" + HEAD + b"Cookie: " + bomb + b"\r\n\r\n"
    _stream(ports.http, pace, most, request, request)


def header_lines(ports: Ports, pace: Pace, most: int) -> None:
    """Requests with a hundred header lines."""
    lines = b"".join(b"X-%d: 1\r\n" % n for n in range(95))
    request = b"GET /small HTTP/1.1\r\n" + HEAD + lines + b"\r\n"
    _stream(ports.http, pace, most, request, request)


def client_hellos(ports: Ports, pace: Pace, most: int) -> None:
    """TLS handshakes that are begun and left."""
    hello = client_hello()
    held: list[socket.socket] = []
    while pace.go():
        sock = connect(ports.tls)
        if sock is None:
            continue
        send(sock, hello)
        held.append(sock)
        if len(held) > most:
            close(held.pop(0), reset=True)
    for sock in held:
        close(sock, reset=True)


def client_hello() -> bytes:
    """The first message of a handshake."""
    context = ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="siege.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def proxy_tlvs(ports: Ports, pace: Pace, most: int) -> None:
    """PROXY headers with a thousand TLVs."""
    addresses = socket.inet_aton("127.0.0.1") * 2 + struct.pack("!HH", 1234, 80)
    tlvs = b"\xe0\x00\x01a" * 1000
    size = struct.pack("!H", len(addresses + tlvs))
    begin = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + size + addresses + tlvs
    while pace.go():
        sock = connect(ports.proxied)
        if sock is not None:
            send(sock, begin + GET)
            drop_input(sock)
            close(sock)


def _ask(method: bytes, path: bytes) -> bytes:
    return (
        method + b" /api/v1/" + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )


def reloads(ports: Ports, pace: Pace, most: int) -> None:
    """Pipelined reloads."""
    _stream(ports.admin, pace, most, b"", _ask(b"POST", b"reload") * 50)


def states(ports: Ports, pace: Pace, most: int) -> None:
    """Pipelined requests for the complete state."""
    _stream(ports.admin, pace, most, b"", _ask(b"GET", b"state") * 50)


def unauthorised(ports: Ports, pace: Pace, most: int) -> None:
    """Requests to an API that needs a token, without one."""
    _stream(ports.admin, pace, most, b"", _ask(b"GET", b"state") * 50)


def followers(ports: Ports, pace: Pace, most: int) -> None:
    """Followers of the access log that read nothing, while requests are logged."""
    held = [sock for sock in (connect(ports.admin) for _ in range(most)) if sock is not None]
    for sock in held:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        send(sock, _ask(b"GET", b"logs/stream"))
    _stream(ports.http, pace, 4, GET, GET * 20)
    for sock in held:
        close(sock, reset=True)


_ALL = (
    Attack("pipelined requests, not read", pipelined, 5, 60),
    Attack("idle connections", idle, 500, 2000),
    Attack("silent connections", silent, 500, 2000),
    Attack("connect, send, reset", resets, 400, 1),
    Attack("slow heads", slow_heads, 300, 300),
    Attack("slow bodies", slow_bodies, 300, 300),
    Attack("slow reads", slow_reads, 100, 200),
    Attack("one-byte chunks", chunks, 100, 10),
    Attack("chunk extensions", chunk_extensions, 100, 10),
    Attack("cookie bombs", cookies, 200, 10),
    Attack("header lines", header_lines, 500, 10),
    Attack("ClientHellos", client_hellos, 100, 200),
    Attack("PROXY TLVs", proxy_tlvs, 200, 1),
    Attack("reloads", reloads, 20, 4, admin=True),
    Attack("states", states, 50, 10, admin=True),
    Attack("requests without a token", unauthorised, 100, 20, admin=True, tokens=True),
    Attack("log followers", followers, 100, 30, admin=True),
)
ATTACKS: Mapping[str, Attack] = {attack.run.__name__: attack for attack in _ALL}
