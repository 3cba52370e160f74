"""twistd --uid: what the other user will need is tried while root can still report it."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbproxy.logs.trouble import trouble_with
from lbproxy.process.privileges import acting_as, log_files, obstacles, prepare_logs
from lbproxy.registry import parse_config
from tests.support.lb_process import ROOT
from tests.support.ports import free_port
from tests.support.process import Child, accepts

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
USER = "nobody"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that only root may write, below one that everybody may read."""
    made = Path(f"/tmp/lbproxy-{os.getpid()}-{time.monotonic_ns()}")
    made.mkdir(mode=0o755)
    yield made
    subprocess.run(["rm", "-r", str(made)], check=True)


def text(folder: Path, port: int, more: str = "") -> str:
    return (
        f"[lbproxy]\naccess_log = {folder}/access.log json\n{more}\n"
        f"[frontend web]\nlisten = tcp:{port}:interface=127.0.0.1\n"
        "routes =\n    default -> reply 200 hi\n"
    )


def test_the_rights_come_back(folder: Path) -> None:
    before = os.geteuid(), os.getegid(), os.getgroups()
    user = pwd.getpwnam(USER)
    with acting_as(user.pw_uid, user.pw_gid):
        assert (os.geteuid(), os.getegid()) == (user.pw_uid, user.pw_gid)
        assert not os.access(folder, os.W_OK, effective_ids=True)
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


def test_what_stands_in_the_way(folder: Path) -> None:
    more = f"admin = unix:{folder}/admin.sock\nstate = {folder}/state.json"
    config = parse_config(text(folder, 80, more), "lb.ini", str(folder))
    user = pwd.getpwnam(USER)
    with acting_as(user.pw_uid, user.pw_gid):
        errors, warnings = obstacles(config, trouble_with, f"{folder}/lb.pid")
    assert [one.partition(":")[0] for one in errors] == ["access_log", "state"]
    assert [one.partition("/")[0] for one in warnings] == ["pid file ", "admin socket "]
    prepare_logs(log_files(config), user.pw_uid, user.pw_gid)
    with acting_as(user.pw_uid, user.pw_gid):
        errors, _ = obstacles(config, trouble_with)
    assert [one.partition(":")[0] for one in errors] == ["state"]
    assert (folder / "access.log").stat().st_uid == user.pw_uid


def command(folder: Path) -> list[str]:
    ini = str(folder / "lb.ini")
    words = [*TWISTD, "-n", "--pidfile=", f"--uid={USER}", "--gid=nogroup"]
    return [*words, "lbproxy", "--config", ini]


def test_the_log_is_written_as_the_user(folder: Path) -> None:
    port = free_port()
    (folder / "lb.ini").write_text(text(folder, port))
    child = Child(command(folder), folder / "out", cwd=folder, env=ENV)
    try:
        child.wait_ready(lambda: accepts(port))
        script = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/x').read()"
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    finally:
        child.stop(signal.SIGTERM)
    lines = [json.loads(line) for line in (folder / "access.log").read_text().splitlines()]
    assert "/x" in [line["target"] for line in lines]


def test_a_log_that_the_user_cannot_write_ends_the_start(folder: Path) -> None:
    (folder / "lb.ini").write_text(text(folder, free_port()))
    (folder / "access.log").touch(mode=0o600)
    done = subprocess.run(
        command(folder), cwd=folder, env=ENV, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert f"as user {USER}: access_log: {folder}/access.log is not writable" in done.stderr


def test_groups_of_root_give_no_rights_meanwhile() -> None:
    """A folder that only root's group may write is an obstacle for the user."""
    user = pwd.getpwnam(USER)
    before = os.getgroups()
    os.setgroups([0, 12])
    try:
        with acting_as(user.pw_uid, user.pw_gid):
            assert set(os.getgroups()) == set(os.getgrouplist(USER, user.pw_gid))
        assert sorted(os.getgroups()) == [0, 12]
    finally:
        os.setgroups(before)
