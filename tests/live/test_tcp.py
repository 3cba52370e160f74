"""TCP frontends: half-close, PROXY headers in and out, TLS passed through by server name."""

from __future__ import annotations

import os
import socket
import struct
import subprocess

import pytest

from tests.live.clients import Answers, ThreadServer, connect, is_closed, read_all, run
from tests.live.test_http import web
from tests.support import tls
from tests.support.ports import free_port
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-tcp")]


def raw(port, address, listen=""):
    return (
        f"[frontend raw]\nmode = tcp\nlisten = tcp:{port}:interface=127.0.0.1 {listen}\n"
        f"backend = app\n[backend app]\nservers = a {address}\n"
    )


def test_half_close_with_nc(balancer):
    """The answer comes after the client's FIN."""

    def serve(sock):
        data = read_all(sock)
        sock.sendall(b"%d bytes\n" % len(data) + data[::-1])

    body = os.urandom(2_000_000)
    with ThreadServer(serve) as server:
        port = free_port()
        lb = balancer(raw(port, server.address))
        command = [program("nc"), "-N", "127.0.0.1", str(port)]
        done = subprocess.run(command, input=body, capture_output=True, timeout=60)
        assert done.stdout == b"2000000 bytes\n" + body[::-1]
        assert done.returncode == 0
        (record,) = lb.wait_records(1, bytes_in=2_000_000)
        assert (record["close"], record["bytes_out"]) == ("ok", 2_000_014)


def test_half_close_by_the_server(balancer):
    """It says all it has, ends its side, and listens on."""
    heard = []

    def serve(sock):
        sock.sendall(b"hello")
        sock.shutdown(1)
        heard.append(read_all(sock))

    with ThreadServer(serve) as server:
        port = free_port()
        lb = balancer(raw(port, server.address))
        with connect(port) as sock:
            assert read_all(sock) == b"hello"
            sock.sendall(b"still here")
        lb.wait_records(1, bytes_in=10, bytes_out=5)
        assert b"still here" in heard


def test_resets_pass_through(balancer):
    def serve(sock):
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with ThreadServer(serve) as server:
        port = free_port()
        lb = balancer(raw(port, server.address))
        with connect(port) as sock:
            sock.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert lb.wait_records(1, bytes_in=1)[0]["close"] == "server_gone"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_proxy_header_to_nginx(balancer, nginx, curl, version):
    inner = free_port()
    block = f"listen 127.0.0.1:{inner} proxy_protocol;"
    answer = 'return 200 "$proxy_protocol_addr $proxy_protocol_port $remote_addr\\n";'
    nginx("a", servers=f"server {{ {block} location / {{ {answer} }} }}")
    raw_port, web_port = free_port(), free_port()
    address = f"127.0.0.1:{inner} send_proxy={version}"
    text = raw(raw_port, address) + web(web_port, address).replace("app", "web")
    lb = balancer(text)
    for port in (raw_port, web_port):
        with connect(port, "127.0.0.77") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            body = Answers(sock).next()[2]
            assert body.decode() == f"127.0.0.77 {sock.getsockname()[1]} 127.0.0.1\n"
        url = f"http://127.0.0.1:{port}/"
        assert run([curl, "-sS", "--interface", "127.0.0.78", url]).stdout.startswith("127.0.0.78 ")
    assert len(lb.wait_records(4, close="ok")) >= 4


def test_proxy_header_from_curl(balancer, nginx_pair, curl):
    port = free_port()
    text = web(port, nginx_pair[0].address)
    listen = f"tcp:{port}:interface=127.0.0.1"
    balancer(text.replace(listen, f"{listen} accept_proxy=127.0.0.0/30"))
    ask = [curl, "-sS", f"http://127.0.0.1:{port}/headers"]
    done = run([*ask, "--haproxy-protocol"])
    assert done.stdout.split("|")[1] == "127.0.0.1"
    # a peer that is not in accept_proxy is served as it is ...
    assert run([*ask, "--interface", "127.0.0.9"]).stdout.split("|")[1] == "127.0.0.9"
    # ... and may not pretend
    done = run([*ask, "--interface", "127.0.0.9", "--haproxy-protocol"], check=False)
    assert "|" not in done.stdout


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 80\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
        + bytes([192, 0, 2, 7, 192, 0, 2, 1])
        + b"\x15\xb3\0\x50",
    ],
    ids=["v1", "v2"],
)
def test_announced_client(balancer, nginx_pair, header):
    port, raw_port = free_port(), free_port()
    listen = "accept_proxy=127.0.0.1"
    text = web(port, nginx_pair[0].address).replace(
        "interface=127.0.0.1", f"interface=127.0.0.1 {listen}"
    )
    both = text + raw(raw_port, nginx_pair[0].address, listen).replace("app", "tcp")
    lb = balancer(both)
    request = b"GET /headers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    with connect(port) as sock:
        for byte in header:  # in as many segments as it likes
            sock.sendall(bytes([byte]))
        sock.sendall(request)
        assert Answers(sock).next()[2].split(b"|")[1] == b"192.0.2.7"
    with connect(raw_port) as sock:
        sock.sendall(header + request)
        assert Answers(sock).next()[0] == 200
    for frontend in ("web", "raw"):
        record = lb.wait_records(1, frontend=frontend, client_ip="192.0.2.7")[0]
        assert (record["client_port"], record["peer_ip"]) == (5555, "127.0.0.1")


def test_no_proxy_header_where_there_must_be_one(balancer, nginx_pair):
    port = free_port()
    lb = balancer(raw(port, nginx_pair[0].address, "accept_proxy=127.0.0.1"))
    with connect(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert is_closed(sock)
    lb.wait_output("connection from 127.0.0.1 refused: bad_preamble")


def test_passed_through_by_server_name(balancer, nginx, curl, openssl, tmp_path):
    authority = tls.ca_file(tmp_path)
    names = {"one": ("one.test",), "two": ("two.test", "*.two.test")}
    origins = {
        name: nginx(name, certificate=tls.write(tls.issue(*hosts), tmp_path, name))
        for name, hosts in names.items()
    }
    port = free_port()
    backends = "".join(
        f"[backend {name}]\nservers = a 127.0.0.1:{origin.tls_port}\n"
        for name, origin in origins.items()
    )
    lb = balancer(
        f"[frontend tls]\nmode = tcp\nlisten = tcp:{port}:interface=127.0.0.1\ntimeout_handshake = "
        "2s\n"
        f"routes =\n    sni one.test -> one\n    sni two.test *.two.test -> two\n{backends}"
    )
    for host, name in (("one.test", "one"), ("two.test", "two"), ("x.two.test", "two")):
        command = [curl, "-sS", "--cacert", authority, "--resolve", f"{host}:{port}:127.0.0.1"]
        assert run([*command, f"https://{host}:{port}/hello"]).stdout == f"hello from {name}\n"
        client = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", host]
        client += ["-CAfile", authority, "-verify_return_error", "-verify_hostname", host]
        assert "Verification: OK" in run(client).stdout
    records = lb.wait_records(6, close="ok")
    assert {(r["sni"], r["backend"]) for r in records} >= {
        ("one.test", "one"),
        ("x.two.test", "two"),
    }
    # no route: closed, not answered
    client = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "other.test"]
    assert run(client, check=False).returncode != 0
    assert lb.wait_records(1, close="no_route")[0]["sni"] == "other.test"
