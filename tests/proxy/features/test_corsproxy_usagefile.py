"""The file of usage: shared by processes, repaired when somebody truncates it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lbproxy.proxy.features.corsproxy.usagefile import UsageFile


def test_processes_share_the_file(tmp_path: Path) -> None:
    one, two = (UsageFile(str(tmp_path / "u"), subjects=10) for _ in range(2))
    with one.locked() as table:
        table.add("app", 1.0, requests=1.0)
    with two.locked() as table:
        assert table.read("app").requests == 1
    one.close()
    two.close()


def test_a_process_that_is_stopped_with_the_lock_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "u"
    usage = UsageFile(str(path), subjects=10)
    assert usage.table.read("app").requests == 0
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with usage.locked() as table:
            table.add("app", 1.0, requests=1.0)
    with usage.locked() as table:
        assert table.read("app").requests == 1
    usage.close()


@pytest.mark.parametrize("what", ["folder", "other", "link"])
def test_a_file_that_cannot_be_used_is_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "u"
    if what == "folder":
        path.mkdir()
    elif what == "other":
        path.write_text("precious")
    else:
        path.symlink_to(tmp_path / "real")
    usage = UsageFile(str(path), subjects=10)
    with usage.locked() as table:
        table.add("app", 1.0, requests=1.0)
        assert table.read("app").requests == 1
    assert str(path) in usage.error
    if what == "other":
        assert path.read_text() == "precious"
    assert not (tmp_path / "real").exists()


def test_a_new_file_belongs_to_the_owner_of_the_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("")
    usage = UsageFile(str(tmp_path / "u"), str(keys), subjects=10)
    assert usage.table is usage.table
    assert (tmp_path / "u").stat().st_mode & 0o777 == 0o660
    assert (tmp_path / "u").stat().st_uid == keys.stat().st_uid
    usage.close()


def bump(usage: UsageFile, subject: str = "app", times: int = 1) -> float:
    """Count requests of a subject, and return its count."""
    for _ in range(times):
        with usage.locked() as table:
            table.add(subject, 1.0, requests=1.0)
            found = table.read(subject).requests
    return found


@pytest.mark.parametrize("size", [0, 100, 4096 + 56, 5000])
def test_a_truncated_file_is_repaired(tmp_path: Path, size: int) -> None:
    path = tmp_path / "u"
    usage = UsageFile(str(path), subjects=1000)
    bump(usage, times=3)
    for number in range(200):
        bump(usage, f"other{number}")
    whole = path.stat().st_size
    os.truncate(path, size)
    assert bump(usage) == 4
    assert path.stat().st_size == whole
    usage.close()
    later = UsageFile(str(path), subjects=1000)
    assert bump(later) == 5
    assert all(later.table.read(f"other{number}").requests == 1 for number in range(200))
    later.close()


def test_the_process_that_knows_more_wins_a_repair(tmp_path: Path) -> None:
    path = tmp_path / "u"
    one, two = (UsageFile(str(path), subjects=1000) for _ in range(2))
    bump(one, times=2)
    bump(two, times=50)  # one does not know
    bump(one, "first")
    os.truncate(path, 0)
    bump(one, "other")  # repairs with what it knows
    assert bump(two) == 53
    assert bump(one) == 54
    assert bump(two, "first") == 2
    for usage in (one, two):
        usage.close()


def test_a_process_that_finds_an_empty_file_is_no_rival(tmp_path: Path) -> None:
    path = tmp_path / "u"
    old = UsageFile(str(path), subjects=1000)
    bump(old, times=5)
    os.truncate(path, 0)
    new = UsageFile(str(path), subjects=1000)
    bump(new)
    assert bump(old) == 6
    assert bump(new) == 7
    assert bump(old) == 8
    for usage in (old, new):
        usage.close()


def test_a_truncated_file_is_repaired_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "u"
    usage = UsageFile(str(path), subjects=1000)
    bump(usage, times=3)
    usage.close()
    os.truncate(path, path.stat().st_size - 1)
    later = UsageFile(str(path), subjects=1000)
    assert bump(later) == 4
    assert later.error == ""
    later.close()


def test_no_truncation_kills_a_process(tmp_path: Path) -> None:
    """The file shrinks and grows under a process that counts."""
    path = tmp_path / "u"
    code = (
        "import sys\n"
        "from lbproxy.proxy.features.corsproxy.usagefile import UsageFile\n"
        "usage = UsageFile(sys.argv[1], subjects=50)\n"
        "print('ready', flush=True)\n"
        "for number in range(3000):\n"
        "    with usage.locked() as table:\n"
        "        table.add(f'key{number % 20}', 1.0, requests=1.0)\n"
        "print(sum(usage.table.read(f'key{number}').requests for number in range(20)))\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        while child.poll() is None:
            if path.exists():
                os.truncate(path, 4096)
        assert child.returncode == 0
        assert child.stdout.read() == "3000.0\n"
