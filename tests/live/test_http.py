"""HTTP before nginx: who answers, connections kept, pipelines, chunked bodies, load."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter

import pytest

from tests.live.clients import Answers, connect, run
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.servers import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-http")]

PIPELINE = """\
init = function(args)
   local one = wrk.format("GET", "/small")
   local all = {}
   for i = 1, 16 do all[i] = one end
   requests = table.concat(all)
end
request = function() return requests end
"""


def web(port, *addresses, check="", extra=""):
    servers = "".join(f"    {chr(97 + i)} {address}\n" for i, address in enumerate(addresses))
    return (
        f"[frontend web]\nlisten = tcp:{port}:interface=127.0.0.1\nbackend = app\n{extra}\n"
        f"[backend app]\nbalance = roundrobin\n{check}\nservers =\n{servers}"
    )


def logged_length(origin):
    """Bytes of the one upload in nginx's log, which is written after the answer."""

    def lengths():
        lines = (line.split() for line in origin.log.read_text().splitlines())
        return [int(words[3]) for words in lines if words[1] == "/upload"]

    assert until(lambda: bool(lengths()))
    return lengths()[0]


@pytest.fixture
def site(balancer, nginx_pair):
    """lbproxy before two origins, and its port."""
    port = free_port()
    return balancer(web(port, *(origin.address for origin in nginx_pair))), port


def wrk_is_content(output):
    assert "Non-2xx" not in output, output
    assert "Socket errors" not in output, output
    found = re.search(r"(\d+) requests in", output)
    assert found, output
    return int(found[1])


def test_answers_come_from_every_server(site, curl):
    lb, port = site
    command = [curl, "--http1.1", "-sS", "-w", "%{num_connects} %{http_code}\n"]
    lines = run([*command, f"http://127.0.0.1:{port}/hello?[1-20]"]).stdout.splitlines()
    assert Counter(lines[::2]) == {"hello from a": 10, "hello from b": 10}
    assert lines[1::2] == ["1 200"] + ["0 200"] * 19  # one connection for all of them
    records = lb.wait_records(20)
    assert Counter(r["server"] for r in records) == {"a": 10, "b": 10}
    assert {(r["status"], r["close"], r["attempts"]) for r in records} == {(200, "ok", 1)}
    assert sum(not r["reused"] for r in records) == 2  # and one to each server
    assert [r["target"] for r in records] == [f"/hello?{i}" for i in range(1, 21)]


def test_keep_alive_and_close(site):
    lb, port = site
    with connect(port) as sock:
        answers = Answers(sock)
        for path, size in ((b"/small", 120), (b"/64k", 65536), (b"/1m", 1048576), (b"/small", 120)):
            sock.sendall(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path)
            status, _, body = answers.next()
            assert (status, len(body)) == (200, size)
        sock.sendall(b"HEAD /1m HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answers.head()[1][b"content-length"] == b"1048576"
        sock.sendall(b"GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert answers.next()[1][b"connection"] == b"close"
        assert (answers.buffer, sock.recv(1)) == (b"", b"")
    with connect(port) as sock:  # HTTP/1.0 closes unless asked not to
        sock.sendall(b"GET /small HTTP/1.0\r\nHost: h\r\n\r\n")
        answers = Answers(sock)
        assert answers.next()[0] == 200
        assert sock.recv(1) == b""
    assert len(lb.wait_records(7)) == 7


def test_pipelined_answers_keep_their_order(site):
    lb, port = site
    paths = [(b"/small", 120), (b"/64k", 65536), (b"/hello", 13), (b"/nothing", None)] * 25
    with connect(port) as sock:
        sock.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path for path, _ in paths))
        answers = Answers(sock)
        for _, size in paths:
            status, _, body = answers.next()
            assert (status, len(body)) == (200, size) if size else status == 404
    assert [r["target"].encode() for r in lb.wait_records(100)] == [path for path, _ in paths]


def test_wrk(site):
    lb, port = site
    wrk = program("wrk")
    done = run([wrk, "-t1", "-c50", "-d1s", "--latency", f"http://127.0.0.1:{port}/small"])
    requests = wrk_is_content(done.stdout)
    assert requests > 100
    records = lb.wait_records(requests)
    assert {r["status"] for r in records if r["close"] == "ok"} == {200}
    assert {r["close"] for r in records} <= {"ok", "client_gone"}  # wrk leaves in mid answer
    assert sum(r["close"] != "ok" for r in records) <= 50


def test_wrk_pipelines(site, tmp_path):
    _, port = site
    wrk = program("wrk")
    script = tmp_path / "pipeline.lua"
    script.write_text(PIPELINE)
    command = [wrk, "-t1", "-c8", "-d1s", "-s", str(script), f"http://127.0.0.1:{port}/small"]
    assert wrk_is_content(run(command).stdout) > 50


def test_chunked_upload(balancer, raw_origin, curl):
    port = free_port()
    lb = balancer(web(port, raw_origin.address))
    body = os.urandom(3_000_000)
    command = [
        curl,
        "--http1.1",
        "-sS",
        "-X",
        "POST",
        "-H",
        "Transfer-Encoding: chunked",
        "-T",
        "-",
    ]
    command += ["-o", str(lb.process.folder / "back"), "-w", "%{http_code}"]
    done = run([*command, f"http://127.0.0.1:{port}/echo"], stdin=body)
    assert done.stdout == "200"
    back = (lb.process.folder / "back").read_bytes()
    assert hashlib.sha256(back).digest() == hashlib.sha256(body).digest()
    (record,) = lb.wait_records(1)
    assert (record["bytes_in"], record["bytes_out"]) == (3_000_000, 3_000_000)


def test_chunked_upload_to_nginx(balancer, nginx, curl):
    origin = nginx("a", access_log=True)
    port = free_port()
    lb = balancer(web(port, origin.address))
    command = [
        curl,
        "--http1.1",
        "-sS",
        "-X",
        "POST",
        "-H",
        "Transfer-Encoding: chunked",
        "-T",
        "-",
    ]
    url = f"http://127.0.0.1:{port}/upload"
    assert run([*command, "-w", "%{http_code}", url], stdin=b"x" * 500_000).stdout.endswith("200")
    assert lb.wait_records(1)[0]["bytes_in"] == 500_000
    assert logged_length(origin) >= 500_000


@pytest.mark.parametrize(
    ("path", "status", "close"),
    [
        ("/close", 502, "server_gone"),
        ("/reset-mid-header", 502, "server_gone"),
        ("/garbage", 502, "bad_response"),
        ("/two-lengths", 502, "bad_response"),
        ("/hang", 504, "response_timeout"),
    ],
)
def test_servers_that_misbehave(balancer, raw_origin, curl, path, status, close):
    port = free_port()
    lb = balancer(web(port, raw_origin.address, check="retries = 0\ntimeout_response = 300ms"))
    url = f"http://127.0.0.1:{port}{path}"
    done = run([curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}", url])
    assert done.stdout == str(status)
    assert lb.wait_records(1)[0]["close"] == close


def test_an_answer_cut_off_is_not_complete_for_the_client(balancer, raw_origin, curl):
    port = free_port()
    lb = balancer(web(port, raw_origin.address))
    for path in ("/reset-mid-body", "/close-mid-body", "/close-mid-chunk"):
        done = run([curl, "-sS", "-o", "/dev/null", f"http://127.0.0.1:{port}{path}"], check=False)
        assert done.returncode in (18, 56), (path, done)  # partial file, receive error
    assert {r["close"] for r in lb.wait_records(3)} == {"server_gone"}


def test_protocol_switch(balancer, raw_origin):
    port = free_port()
    lb = balancer(web(port, raw_origin.address))
    with connect(port) as sock:
        sock.sendall(
            b"GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answers = Answers(sock)
        status, headers = answers.head()
        assert (status, headers[b"sec-websocket-accept"]) == (101, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        for size in (1, 1000, 300_000):
            sock.sendall(b"x" * size)
            assert answers.body(size) == b"x" * size
    assert lb.wait_records(1)[0]["status"] == 101
