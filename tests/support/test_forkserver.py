"""A fork runs as a new interpreter would: what differs between the two is a fault."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.lb_process import LBProcess
from tests.support.ports import free_port
from tests.support.process import NotReady, lives, until

TEXT = """
[frontend web]
listen = tcp:127.0.0.1:{}
backend = app
[backend app]
servers = a 127.0.0.1:1
"""


def surroundings(pid: int) -> dict[str, object]:
    """What a process has from the one that started it."""
    base = Path(f"/proc/{pid}")
    status = dict(
        line.split(":\t", 1) for line in (base / "status").read_text().splitlines() if ":\t" in line
    )
    links = [os.readlink(base / "fd" / name) for name in os.listdir(base / "fd")]
    return {
        "signals": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt")],
        "umask": status["Umask"],
        "descriptors": sorted(link.partition("[")[0].rpartition("/")[2] for link in links),
        "session": os.getsid(pid) == os.getpgid(pid) == pid,
        "limits": (base / "limits").read_text(),
        "cores": os.sched_getaffinity(pid),
    }


def test_a_fork_is_like_a_new_process(tmp_path: Path) -> None:
    folders = [tmp_path / "fork", tmp_path / "new"]
    with (
        LBProcess(TEXT.format(free_port()), folders[0], forked=True) as fork,
        LBProcess(TEXT.format(free_port()), folders[1]) as new,
    ):
        # the connection that has found it ready may still be open
        same = until(lambda: surroundings(fork.pid) == surroundings(new.pid), 10)
        assert same or surroundings(fork.pid) == surroundings(new.pid)
        for one, folder in zip((fork, new), folders, strict=True):
            assert os.readlink(f"/proc/{one.pid}/cwd") == str(folder)
            assert one.stop() == -signal.SIGTERM
            assert "Server Shut Down" in one.output()


def test_its_end_is_seen(tmp_path: Path) -> None:
    lb = LBProcess(TEXT.format(free_port()), tmp_path, forked=True)
    assert lb.alive
    os.kill(lb.pid, signal.SIGKILL)
    assert until(lambda: not lb.alive)
    assert lb.stop() == -signal.SIGKILL
    assert not lives(lb.pid)


def test_a_start_that_fails(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(NotReady, match=r"(?s)ended with 1.*unknown key 'user'"):
        text = "[lbproxy]\nuser = me\n" + TEXT.format(port)
        LBProcess(text, tmp_path, ports=[port], forked=True)
