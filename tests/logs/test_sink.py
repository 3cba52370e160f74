"""The log sink on real files and pipes, with a virtual clock."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from lbproxy.config.model import LogSpec
from lbproxy.logs import sink as module
from lbproxy.logs.sink import BATCH_BYTES, BUFFER_BYTES, LogSink


@pytest.fixture
def warnings() -> Iterator[list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "lbproxy.logs.sink":
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def started(path: Path | str) -> tuple[LogSink, Clock]:
    clock = Clock()
    sink = LogSink(LogSpec(str(path)), clock)
    sink.start()
    return sink, clock


def test_lines_are_written_together_after_the_interval(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink, clock = started(path)
    sink.write(b"one\n")
    clock.advance(0.1)
    sink.write(b"two\n")
    assert path.read_bytes() == b""
    clock.advance(0.1)
    assert path.read_bytes() == b"one\ntwo\n"
    sink.write(b"three\n")
    clock.advance(0.2)
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert not clock.getDelayedCalls()  # nothing to do, nothing scheduled
    assert sink.written == 14


def test_a_full_batch_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink, _ = started(path)
    line = b"x" * 1023 + b"\n"
    for _i in range(BATCH_BYTES // 1024 - 1):
        sink.write(line)
    assert path.stat().st_size == 0
    sink.write(line)
    assert path.stat().st_size == BATCH_BYTES


def test_stop_writes_and_closes(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink, clock = started(path)
    sink.write(b"last\n")
    sink.stop()
    assert path.read_bytes() == b"last\n" and sink.dropped == 0
    assert not clock.getDelayedCalls()
    sink.start()
    sink.write(b"again\n")
    sink.stop()
    assert path.read_bytes() == b"last\nagain\n"


def test_lines_before_start_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = LogSink(LogSpec(str(path)), Clock())
    sink.write(b"early\n")
    sink.start()
    assert path.read_bytes() == b"early\n"


def test_reopen_after_rotation(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    sink, _ = started(path)
    sink.write(b"one\n")
    path.rename(old)
    sink.reopen()
    sink.write(b"two\n")
    sink.stop()
    assert old.read_bytes() == b"one\n" and path.read_bytes() == b"two\n"


def test_reopen_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    sink, _ = started(folder / "access.log")
    folder.rename(tmp_path / "gone")
    sink.reopen()
    assert sink.errors == 1
    sink.write(b"two\n")
    sink.stop()
    assert (tmp_path / "gone" / "access.log").read_bytes() == b"two\n"


def test_a_file_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, warnings: list[dict[str, Any]]
) -> None:
    path = tmp_path / "logs" / "access.log"
    sink, clock = started(path)
    assert sink.errors == 1 and len(warnings) == 1
    assert "cannot be written (No such file" in warnings[0]["trouble"]
    sink.write(b"kept\n")
    clock.pump([0.2] * 14)
    assert sink.errors > 1
    path.parent.mkdir()
    clock.advance(1.0)
    assert path.read_bytes() == b"kept\n"


def test_a_full_disk_drops_nothing_it_can_keep_and_reports_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[dict[str, Any]]
) -> None:
    path = tmp_path / "access.log"
    sink, clock = started(path)
    real = os.write
    room = 10

    def write(fd: int, data: Any) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(fd, bytes(data)[:room])
        room -= done
        return done

    monkeypatch.setattr(module.os, "write", write)
    sink.write(b"123456789\nabcdefghi\n")
    for _ in range(50):
        clock.advance(0.1)
    assert path.read_bytes() == b"123456789\n"  # what was written is not written twice
    assert 3 <= len(warnings) <= 6
    assert sum(w["errors"] for w in warnings) in (sink.errors, sink.errors - 1)
    line = b"y" * 999 + b"\n"
    for _ in range(2 * BUFFER_BYTES // 1000):
        sink.write(line)
    assert sink.dropped > 900
    monkeypatch.undo()
    clock.advance(1.0)
    text = path.read_bytes()
    assert text.startswith(b"123456789\nabcdefghi\nyyy") and len(text) <= BUFFER_BYTES + 10
    assert len(text) + sink.dropped * 1000 == 20 + 1000 * (2 * BUFFER_BYTES // 1000)
    clock.advance(1.0)
    assert sum(w["dropped"] for w in warnings) == sink.dropped
    sink.write(line)
    clock.advance(0.2)
    assert path.read_bytes() == text + line  # and all is well again


def test_a_pipe_nobody_reads_never_blocks(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink, clock = started(path)
    line = b"z" * 99 + b"\n"
    count = 30_000
    for _ in range(count):
        sink.write(line)
        if sink.dropped:
            break
    clock.advance(0.2)
    sent = sink.written
    got = b""
    for _ in range(100):
        clock.advance(1.0)
        try:
            got += os.read(reader, 1 << 20)
        except BlockingIOError:
            break
    assert sink.dropped >= 1 and sent >= 4096
    assert len(got) == sink.written and not got.replace(line, b"")
    os.close(reader)
    sink.write(line)
    clock.advance(1.0)  # EPIPE, then ENXIO: counted
    assert sink.errors >= 1
    sink.stop()


def test_stdout_that_is_a_full_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our descriptor blocks (others share it): only as much is written as fits."""
    reader, writer = os.pipe()
    monkeypatch.setattr(module, "_STDOUT", writer)
    sink, clock = started("stdout")
    for _ in range(3000):
        sink.write(b"q" * 99 + b"\n")
    clock.advance(0.2)
    assert 0 < sink.written < 300_000
    sink.reopen()
    assert os.get_blocking(writer)
    got = b""
    while len(got) < 300_000:
        got += os.read(reader, 1 << 16)
        clock.advance(1.0)
    assert got == (b"q" * 99 + b"\n") * 3000
    sink.stop()
    os.write(writer, b"still open")
    os.close(reader)
    os.close(writer)


def test_stop_counts_what_is_left(tmp_path: Path, warnings: list[dict[str, Any]]) -> None:
    sink, _ = started(tmp_path / "no" / "access.log")
    sink.write(b"one\n")
    sink.write(b"two\n")
    sink.stop()
    assert sink.dropped == 2
    assert warnings[-1]["dropped"] == 2


@pytest.mark.parametrize("path", ["", "off"])
def test_off(path: str) -> None:
    sink, clock = started(path)
    sink.write(b"x\n")
    sink.reopen()
    sink.stop()
    assert not sink.enabled and not sink.written and not sink.dropped
    assert not clock.getDelayedCalls()


def test_sampling_leaves_out_what_went_well(tmp_path: Path) -> None:
    from lbproxy.service import LoadBalancer
    from lbproxy.testing import HTTPOrigin, MemoryReactor
    from lbproxy.testing.client import open_client

    reactor = MemoryReactor()
    text = f"""
[lbproxy]
access_log = {tmp_path}/access.log "%{{status}} %{{target}}" sample=0%
[frontend web]
listen = tcp:8080
backend = app
[backend app]
retries = 0
servers = a 10.0.0.1:8000
"""
    origin = HTTPOrigin(reactor, "a", "10.0.0.1:8000")
    balancer = LoadBalancer.from_config(text, reactor=reactor)
    balancer.startService()
    for path in (b"/good", b"/broken"):
        client = open_client(reactor, "127.0.0.1", 8080, client_ip="203.0.113.1")
        client.send(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        reactor.advance(1)
        assert client.received.startswith(b"HTTP/1.1 " + (b"200" if path == b"/good" else b"502"))
        origin.stop()
    assert (tmp_path / "access.log").read_text() == "502 /broken\n"
    balancer.stopService()
    reactor.advance(20)
