"""The real servers that the live tests use do what they promise."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from tests.support.origin import BEHAVIOURS
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.servers import *  # noqa: F403  (fixtures)

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("support-servers")]


def fetch(url, data=None):
    with urllib.request.urlopen(url, data, timeout=60) as response:
        return response.read(), response.headers


def exchange(port, request):
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(request)
        data = b""
        try:
            while part := sock.recv(65536):
                data += part
        except ConnectionResetError:
            return data, "reset"
        return data, "closed"


def test_nginx(nginx_pair):
    for origin in nginx_pair:
        body, headers = fetch(f"{origin.url}/hello")
        assert body == f"hello from {origin.name}\n".encode()
        assert headers["X-Origin"] == origin.name
    first = nginx_pair[0]
    assert len(fetch(f"{first.url}/small")[0]) == 120
    assert len(fetch(f"{first.url}/64k")[0]) == 65536
    assert fetch(f"{first.url}/upload", b"x" * 300_000)[0] == b"300000\n"
    head = urllib.request.Request(f"{first.url}/1g", method="HEAD")
    with urllib.request.urlopen(head, timeout=60) as response:
        assert response.headers["Content-Length"] == str(1024**3)


def test_nginx_can_be_stopped_and_started(nginx):
    origin = nginx("c", access_log=True)
    fetch(f"{origin.url}/hello")
    origin.stop()
    with pytest.raises(OSError):
        fetch(f"{origin.url}/hello")
    origin.start()
    fetch(f"{origin.url}/hello")
    assert until(lambda: origin.log.read_text().count("GET /hello 200") == 2)


def test_nginx_tls(nginx_tls):
    import ssl

    context = ssl.create_default_context(cafile=str(nginx_tls.folder / "ca.pem"))
    url = f"https://127.0.0.1:{nginx_tls.tls_port}/hello"
    with urllib.request.urlopen(url, timeout=60, context=context) as response:
        assert response.read() == b"hello from tls\n"


def test_postgres(postgres):
    assert postgres.query("select 6 * 7") == "42"


def test_redis(redis):
    data, _ = exchange(redis.port, b"PING\r\nQUIT\r\n")
    assert data == b"+PONG\r\n+OK\r\n"


@pytest.mark.parametrize(
    ("path", "start", "end"),
    [
        (b"/ok", b"HTTP/1.1 200", "closed"),
        (b"/close", b"", "closed"),
        (b"/reset", b"", "reset"),
        (b"/reset-mid-header", b"HTTP/1.1 200 OK\r\nContent-Le", "reset"),
        (b"/close-mid-body", b"HTTP/1.1 200", "closed"),
        (b"/garbage", b"\x00\xff", "closed"),
        (b"/until-close", b"HTTP/1.0 200 OK\r\n\r\nuntil close", "closed"),
        (b"/interim", b"HTTP/1.1 103", "closed"),
        (b"/trailers", b"HTTP/1.1 200", "closed"),
    ],
)
def test_raw_origin(raw_origin, path, start, end):
    assert path in BEHAVIOURS
    request = b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % path
    data, ended = exchange(raw_origin.port, request)
    assert (data.startswith(start), ended) == (True, end)


def test_raw_origin_bodies(raw_origin):
    chunked = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    data, _ = exchange(raw_origin.port, chunked + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert data.endswith(b"\r\n\r\nabcde")


def test_lbproxy_itself(lb_process, nginx_pair):
    port = free_port()
    lb = lb_process(f"""
        [frontend web]
        listen = tcp:{port}:interface=127.0.0.1
        backend = app

        [backend app]
        servers =
            a {nginx_pair[0].address}
            b {nginx_pair[1].address}
        """)
    assert lb.ports == [port]
    names = {fetch(f"http://127.0.0.1:{port}/hello")[1]["X-Origin"] for _ in range(4)}
    assert names <= {"a", "b"}
    assert lb.rss_bytes() > 10_000_000
    assert lb.descriptors() > 3
    assert lb.stop() in (0, -15), lb.output()
    assert "Server Shut Down" in lb.output()


def test_missing_programs(monkeypatch):
    monkeypatch.setenv("LBPROXY_REQUIRE_LIVE", "0")
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        program("no-such-program")  # noqa: F405
    monkeypatch.setenv("LBPROXY_REQUIRE_LIVE", "1")
    with pytest.raises(pytest.fail.Exception):
        program("no-such-program")  # noqa: F405
