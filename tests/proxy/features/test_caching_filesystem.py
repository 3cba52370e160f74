"""Hits of stored bodies need no threads, whatever the file system of the folder can do."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lbproxy.proxy.features.caching.disk import filesystem
from lbproxy.proxy.features.caching.disk.filesystem import INLINE, read_rules
from lbproxy.proxy.features.caching.jobs import Jobs
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer
from tests.support.caching import disk_config

HOUR = {"Cache-Control": "max-age=3600"}
BODY = bytes(range(256)) * 192  # 48 KiB


@pytest.fixture
def without_nowait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system refuse RWF_NOWAIT, as tmpfs does on many kernels."""
    preadv = os.preadv

    def refuse(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        if flags & os.RWF_NOWAIT:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return preadv(fd, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", refuse)


def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    """Let the folder of the tests be on a file system of this kind."""
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts.write_text(
        "21 1 0:999 / / rw - ext4 /dev/sda rw\n"
        f"22 1 {number} / /some\\040where rw,nosuid shared:3 - {kind} none rw\n"
    )
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)


def begin(folder: Path) -> LoadBalancerFixture:
    lb = LB.from_config(disk_config(folder))
    lb.origin("a", "10.0.0.1:80", Answer(200, BODY, HOUR))
    return lb


def jobs_of_hits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the jobs in threads of ten hits, of a process that found the response stored."""
    with begin(folder) as first:
        first.get("http://h/a")
        first.advance(1)
    with begin(folder) as lb:
        assert lb.get("http://h/a").body == BODY
        jobs = []
        run = Jobs.run
        with monkeypatch.context() as patch:
            patch.setattr(Jobs, "run", lambda self, *a: jobs.append(a) or run(self, *a))
            for _ in range(10):
                assert lb.get("http://h/a").body == BODY
        assert len(lb.origins["a"].requests) == 0
    return len(jobs)


@pytest.mark.parametrize("kind", ["tmpfs", "nfs4"])
def test_hits_need_no_threads_without_rwf_nowait(
    without_nowait: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounted(monkeypatch, tmp_path, kind)
    folder = tmp_path / "store"
    assert jobs_of_hits(folder, monkeypatch) == 0
    assert len(list(folder.glob("*/*.b"))) == (1 if kind == "tmpfs" else 0)


def test_hits_need_no_threads_with_rwf_nowait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if read_rules(tmp_path)[0] != os.RWF_NOWAIT:
        pytest.skip("the folder of the tests is in memory")
    assert jobs_of_hits(tmp_path / "store", monkeypatch) == 0


def test_the_rules_of_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("without_nowait")
    mounted(monkeypatch, tmp_path, "tmpfs")
    assert read_rules(tmp_path) == (0, INLINE)
    mounted(monkeypatch, tmp_path, "ext4")
    assert read_rules(tmp_path) == (os.RWF_NOWAIT, sys.maxsize)
    monkeypatch.setattr(filesystem, "_MOUNTS", tmp_path / "none")
    assert read_rules(tmp_path) == (os.RWF_NOWAIT, sys.maxsize)
    assert [path.name for path in tmp_path.iterdir()] == ["mountinfo"]
