"""HTTP and bulk load: wrk, curl, openssl s_time, sendfile."""

from __future__ import annotations

import json
import re
import socket
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

from tests.bench.load import Load, run_tool, tool

__all__ = ["bulk", "fetch_each", "handshakes", "upload", "wrk"]

SCRIPT = Path(__file__).with_name("headers.lua")


def wrk(
    port: int,
    seconds: float,
    *,
    path: str = "/small",
    method: str = "GET",
    size: int = 0,
    close: bool = False,
    tls: bool = False,
    connections: int = 50,
    replay: Path | None = None,
    unique: bool = False,
    keys: int = 0,
) -> Load:
    """Keep ``connections`` busy for ``seconds``.  ``replay``: a file of requests to send.

    ``unique``: each of them gets a query that no request had before.  ``keys``: each gets one of
    so many values of ``key`` in its query.
    """
    scheme = "https" if tls else "http"
    whole = max(1, round(seconds))
    command = [tool("wrk"), "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "10s"]
    command += ["-s", str(SCRIPT), f"{scheme}://127.0.0.1:{port}", "--"]
    command += [path, method, str(size), "close" if close else "keep"]
    if replay is not None:
        more = ["unique"] if unique else [str(keys)] if keys else []
        command += [str(replay), *more]
    output = run_tool(command, whole + 30)
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if found is None:
        raise RuntimeError(output)
    result = json.loads(found[1])
    return Load(
        result["requests"],
        result["seconds"],
        result["p50_us"],
        result["p99_us"],
        result["errors"],
    )


def fetch_each(port: int, replay: Path) -> None:
    """Request each target of a file of requests once; RuntimeError if an answer is not 200."""
    found = re.findall(rb"^GET (\S+) HTTP/", replay.read_bytes(), re.MULTILINE)
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    fields = {"Host": "www.example.com", "Accept-Encoding": "gzip, deflate, br, zstd"}
    for target in dict.fromkeys(found):
        connection.request("GET", target.decode(), headers=fields)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{target!r} was answered with {answer.status}")
    connection.close()


def bulk(port: int, seconds: float, *, gigabytes: int = 1) -> Load:
    """Fetch a sparse file of a gigabyte again and again through a TCP proxy."""
    begin = time.monotonic()
    rounds = 0
    while rounds < gigabytes or time.monotonic() - begin < seconds:
        run_tool(
            [tool("curl"), "-sf", "-o", "/dev/null", f"http://127.0.0.1:{port}/1g"],
            timeout=60,
        )
        rounds += 1
    return Load(rounds * 1024**3 / 1e9, time.monotonic() - begin)


def upload(port: int, seconds: float) -> Load:
    """Send a sparse file of a gigabyte to a sink, over and over; it says how much arrived."""
    size = 1024**3
    begin = time.monotonic()
    rounds = 0
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        while not rounds or time.monotonic() - begin < seconds:
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.settimeout(60)
                sock.sendfile(file, 0)
                sock.shutdown(socket.SHUT_WR)
                answer = sock.makefile("rb").read()
            if answer != b"%d\n" % size:
                raise RuntimeError(f"{answer!r} arrived of {size}")
            rounds += 1
    return Load(rounds * size / 1e9, time.monotonic() - begin)


def handshakes(port: int, seconds: float, *, resumed: bool) -> Load:
    """TLS handshakes, one after the other, each with one short request."""
    whole = max(1, round(seconds))
    kind = "-reuse" if resumed else "-new"
    command = [tool("openssl"), "s_time", "-connect", f"127.0.0.1:{port}", kind]
    output = run_tool([*command, "-www", "/small", "-time", str(whole)], whole + 30)
    found = re.findall(r"^(\d+) connections in (\d+) real seconds", output, re.MULTILINE)
    if not found:
        raise RuntimeError(output)
    # s_time may run one second longer than it was asked to, and says so
    count, real = found[-1]
    return Load(int(count), max(1.0, float(real)))
