"""``lbproxy demo`` as a newcomer sees it: what it prints works."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.live.clients import run
from tests.support.lb_process import ROOT
from tests.support.ports import free_port
from tests.support.process import Child, until
from tests.support.required import program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-http")]


class Demo:
    """The child process and what it has printed."""

    def __init__(self, folder, port=None):
        chosen = free_port() if port is None else port
        command = [sys.executable, "-m", "lbproxy", "demo", "--port", str(chosen)]
        env = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.child = Child(command, folder / "demo.log", cwd=folder, env=env)
        self.child.wait_ready(lambda: "printed here:" in self.output())

    def output(self):
        return self.child.log.read_text()

    def url(self, name):
        return re.search(rf"{name} +(\S+://\S+)", self.output())[1]

    def commands(self):
        """The lines to try, without their comments."""
        lines = (line.strip().partition("  #")[0].strip() for line in self.output().splitlines())
        return [line for line in lines if line.startswith("curl ")]


@pytest.fixture
def demo(tmp_path):
    program("curl")
    running = Demo(tmp_path)
    yield running
    running.child.stop()
    assert "Traceback" not in running.output()


def test_any_free_ports(tmp_path):
    """``--port 0``: what is printed are the real ones."""
    program("curl")
    running = Demo(tmp_path, port=0)
    try:
        for name in ("HTTP", "HTTPS"):
            assert not re.search(r":0\b", running.url(name))
            ask = ["curl", "-sSk", "-o", "/dev/null", "-w", "%{http_code}", running.url(name)]
            assert run(ask).stdout == "200"
    finally:
        running.child.stop()


def command(demo, part):
    (found,) = [line for line in demo.commands() if part in line]
    return shlex.split(found)


def test_everything_printed_works(demo):
    ask = ["curl", "-sS", demo.url("HTTP")]
    servers = Counter(json.loads(run(ask).stdout)["server"] for _ in range(10))
    assert servers == {"alpha": 5, "beta": 5}
    for line in demo.commands():
        if "-X POST http" in line:  # these break something; see below
            continue
        done = run([*shlex.split(line), "-sS"])
        assert done.stdout, line
    assert "302" in run(command(demo, "/old")).stdout.splitlines()[0]
    assert json.loads(run(command(demo, "/slow/")).stdout)["server"] == "slow"
    size = Path("/etc/hostname").stat().st_size
    assert json.loads(run(command(demo, "/etc/hostname")).stdout)["body_bytes"] == size
    line = re.search(r"^ *(bash -c '.+')", demo.output(), re.MULTILINE)[1]
    done = run(shlex.split(line))
    assert done.stdout in ("one: hello\n", "two: hello\n")
    log = Path(re.search(r"^ *log +(\S+)", demo.output(), re.MULTILINE)[1])
    assert until(lambda: len(log.read_text().splitlines()) >= 16)
    assert all(json.loads(line)["close"] for line in log.read_text().splitlines())
    config = re.search(r"^ *config +(\S+)", demo.output(), re.MULTILINE)[1]
    words = re.search(r"\(`(.+) check` and", demo.output())[1]
    check = [*shlex.split(words), "check", config]
    done = subprocess.run(check, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, "good" in done.stdout) == (0, True)


def test_the_cache_of_the_demo(demo):
    """The commands that the tour prints: why, purge, and what a page has prefetched."""
    lines = re.findall(
        r"^  (\S.* cache (why|purge|list) .*?)(?:  +#.*)?$", demo.output(), re.MULTILINE
    )
    words = {name: shlex.split(line) for line, name in lines}
    assert sorted(words) == ["list", "purge", "why"]

    def tell(name):
        done = subprocess.run(words[name], capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shows(path, name, *texts):
        """It is fresh for ten seconds, and a busy machine may take as long to start a command."""
        run(command(demo, path))
        found = tell(name)
        return all(text in found for text in texts)

    assert until(lambda: shows("/cached/report", "why", "use: serve"))
    assert until(lambda: shows("/cached/report", "purge", "1 response purged"))
    assert "rel=preload" in run(command(demo, "/cached/page")).stdout
    assert until(lambda: shows("/cached/page", "list", "/cached/style.css", "/cached/page"))


def test_break_something(demo):
    ask = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}\n", demo.url("HTTP") + "?[1-20]"]
    assert run(ask).stdout == "200\n" * 20
    assert "done" in run(command(demo, "/stop/beta")).stdout
    assert run(ask).stdout == "200\n" * 20
    assert until(lambda: "app/beta is down" in demo.output())
    assert run(ask).stdout == "200\n" * 20
    run(command(demo, "/fail/alpha"))
    assert until(lambda: "app/alpha is down" in demo.output())
    assert json.loads(run(["curl", "-sS", demo.url("HTTP")]).stdout)["server"] == "slow"
    run(command(demo, "/start/alpha"))
    assert until(lambda: "app/alpha is up" in demo.output())
    assert json.loads(run(["curl", "-sS", demo.url("HTTP")]).stdout)["server"] == "alpha"


def test_ctrl_c(demo):
    assert run(["curl", "-sS", demo.url("HTTP")]).stdout
    begun = time.monotonic()
    assert demo.child.stop(signal.SIGINT) == 0
    assert time.monotonic() - begun < 9, "it does not wait for the connection of the client"


def test_the_page_calls_another_origin_through_the_proxy(demo, tmp_path):
    chromium = program("chromium")
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking"
    command = [chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", demo.url("CORS")]
    page = subprocess.run(command, capture_output=True, text=True, timeout=90).stdout
    (body,) = re.findall(r"<body[^>]*>", page)
    assert 'data-direct="TypeError' in body
    assert re.search(r'data-proxied="200 \(cache: (MISS|HIT)\)', body)
    assert 'data-refused="403' in body
