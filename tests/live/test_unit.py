"""The systemd unit: in the sandbox that it asks for, lbproxy serves, logs, reloads and upgrades."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import dockerfile
from tests.support.lb_process import ROOT
from tests.support.ports import privileged_port
from tests.support.process import until
from tests.support.required import missing
from tests.support.sandbox import UID, Sandbox, directives

pytestmark = pytest.mark.live

UNIT = (ROOT / "docs" / "examples" / "lbproxy.service").read_text()
TEXT = """\
[lbproxy]
admin = unix:/run/lbproxy/admin.sock
access_log = /var/log/lbproxy/access.log json
state = /var/lib/lbproxy/state.json
timeout_shutdown = 2s

[frontend web]
listen = tcp:{port}:interface=127.0.0.1
routes =
    path /app/* -> app
    default     -> reply 200 "first"

[backend app]
servers = a 127.0.0.1:9
"""


def test_a_new_directive_must_be_considered() -> None:
    with pytest.raises(AssertionError, match="ProtectMoon"):
        directives(UNIT.replace("[Service]", "[Service]\nProtectMoon=yes"))


@pytest.fixture
def port() -> int:
    return privileged_port()


@pytest.fixture
def sandbox(port: int) -> Iterator[Sandbox]:
    why = dockerfile.possible()
    if why:
        missing(why)
    folder = Path(tempfile.mkdtemp(prefix="lbproxy-unit-"))
    folder.chmod(0o755)
    made = Sandbox(folder, UNIT, TEXT.format(port=port))
    yield made
    made.close()
    shutil.rmtree(folder)


def get(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        return str(answer.read().decode())


def lives(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    return Path(f"/proc/{pid}").exists() and not facts(pid)["State"].startswith("Z")


def facts(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def ask(sandbox: Sandbox, *words: str) -> str:
    admin = f"unix:{sandbox.run}/admin.sock"
    command = [sys.executable, "-m", "lbproxy", *words, "--admin", admin]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_serves_logs_reloads_and_upgrades(sandbox: Sandbox, port: int) -> None:
    checked = sandbox.check()
    assert checked.returncode == 0 and "good" in checked.stdout, checked.stderr
    output = sandbox.folder / "output"
    process = sandbox.start(output)
    pids = [process.pid]
    try:
        sandbox.notified("READY=1")
        assert get(port) == "first"
        status = facts(process.pid)
        assert status["Uid"].split() == [str(UID)] * 4
        assert (status["NoNewPrivs"], int(status["CapEff"], 16)) == ("1", 1 << 10)

        sandbox.config.write_text(TEXT.format(port=port).replace('"first"', '"second"'))
        process.send_signal(signal.SIGHUP)  # ExecReload
        sandbox.notified("RELOADING=1")
        assert "1 change" in sandbox.notified("READY=1")
        assert get(port) == "second"

        ask(sandbox, "weight", "app/a", "7")
        state = sandbox.state / "state.json"
        assert until(lambda: state.exists() and "7" in state.read_text())

        process.send_signal(signal.SIGUSR2)
        words = sandbox.notified("MAINPID=")
        pids.append(int(words.split("MAINPID=")[1].split()[0]))
        assert get(port) == "second"
        assert until(lambda: process.poll() is not None), output.read_text()
        assert "weight 1 -> 7" in ask(sandbox, "events")
        assert facts(pids[1])["Uid"].split() == [str(UID)] * 4
        os.kill(pids[1], signal.SIGTERM)
        sandbox.notified("STOPPING=1")
        assert until(lambda: not lives(pids[1])), output.read_text()
    finally:
        for pid in pids:
            if lives(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait(60)
    log = sandbox.logs / "access.log"
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == [200] * 3
    assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (UID, 0o640)
    assert not (sandbox.run / "admin.sock").exists()
    assert "Traceback" not in output.read_text()


@pytest.mark.parametrize(
    "path", ["/etc/lbproxy/x", "/opt/lbproxy/x", "/usr/x", "/home/x", "/proc/sys/kernel/hostname"]
)
def test_it_cannot_write_elsewhere(sandbox: Sandbox, path: str) -> None:
    done = sandbox.once(["sh", "-c", f"echo x > {path}"])
    assert done.returncode != 0
    assert any(why in done.stderr for why in ("Read-only", "Permission denied")), done.stderr
