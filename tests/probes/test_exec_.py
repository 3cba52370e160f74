"""The exec check: what is run, what its end means, and that nothing of it is left; with a reactor
that starts nothing, and with real programs below one that does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from lbproxy.config.errors import ConfigErrors
from lbproxy.health.state import Result
from lbproxy.interfaces import Env
from lbproxy.probes.exec_ import OUTPUT_BYTES, ExecOptions, ExecProbe
from lbproxy.registry import parse_config
from tests.probes.world import World

ROOT = Path(__file__).resolve().parents[2]


class Started:
    """A program that somebody else plays."""

    pid = 0

    def __init__(self, run: Any, command: list[str], env: dict[str, str]) -> None:
        self.run, self.command, self.env = run, command, env
        self.signals: list[str] = []
        self.closed = False

    def closeStdin(self) -> None:
        pass

    def loseConnection(self) -> None:
        self.closed = True

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def end(self, code: int | None, number: int | None = None, *, all_closed: bool = True) -> None:
        error: Any = ProcessTerminated(code, number) if code or number else ProcessDone(0)
        self.run.processExited(Failure(error))
        if all_closed:
            self.run.processEnded(Failure(error))


class Reactor:
    """Starts nothing."""

    def __init__(self, error: OSError | None = None) -> None:
        self.started: list[Started] = []
        self.error = error

    def spawnProcess(self, run: Any, path: str, command: list[str], env: Any) -> None:
        if self.error:
            raise self.error
        self.started.append(Started(run, command, env))
        run.makeConnection(self.started[-1])


def begin(world: World, reactor: Reactor, *arguments: str, **options: Any) -> list[Any]:
    env = Env(now=world.env.now, random=world.env.random, reactor=reactor)
    return world.begin(ExecProbe(ExecOptions("sh", arguments, **options), env))


def ended(*how: Any, out: bytes = b"", err: bytes = b"", **options: Any) -> Result:
    reactor = Reactor()
    found = begin(World(), reactor, **options)
    (one,) = reactor.started
    one.run.outReceived(out)
    one.run.errReceived(err)
    assert not found
    one.end(*how)
    result: Result = found[0]
    return result


def test_what_is_run() -> None:
    world, reactor = World(), Reactor()
    begin(world, reactor, "-c", "echo {address}:{port} {server} {backend} {other}")
    (one,) = reactor.started
    assert one.command[-2:] == ["-c", "echo 10.0.0.1:8000 a app {other}"]
    assert one.command[-3].endswith("/sh")
    ours = {name: value for name, value in one.env.items() if name.startswith("LBPROXY_")}
    assert ours == {
        "LBPROXY_ADDRESS": "10.0.0.1",
        "LBPROXY_PORT": "8000",
        "LBPROXY_SERVER": "a",
        "LBPROXY_BACKEND": "app",
        "LBPROXY_TIMEOUT": "1",
    }
    assert set(one.env) - set(ours) <= {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ"}


@pytest.mark.parametrize(
    ("how", "said", "result"),
    [
        ((0,), {"out": b"OK - fine\nmore\n"}, Result(True, "OK - fine")),
        ((0,), {}, Result(True, "")),
        ((0,), {"err": b"\n  hm\n"}, Result(True, "hm")),
        ((2,), {"out": b"CRITICAL - no"}, Result(False, "status 2: CRITICAL - no")),
        ((1,), {}, Result(False, "status 1")),
        ((1,), {"ok": (0, 1)}, Result(True, "")),
        ((0,), {"ok": (3,)}, Result(False, "status 0")),
        ((None, 9), {"out": b"x"}, Result(False, "killed by signal 9: x")),
        ((0,), {"out": b"\xff\x1b[31m"}, Result(True, "\ufffd?[31m")),
        ((0,), {"out": b"y" * 999_999}, Result(True, "y" * 200)),
    ],
)
def test_how_it_ends(how: Any, said: Any, result: Result) -> None:
    assert ended(*how, **said) == result


def test_output_is_bounded() -> None:
    reactor = Reactor()
    begin(World(), reactor)
    run = reactor.started[0].run
    for _ in range(1000):
        run.outReceived(b"x" * 1000)
        run.errReceived(b"x" * 1000)
    assert len(run._out) == len(run._err) == OUTPUT_BYTES


def test_a_child_that_holds_the_output_open_is_not_waited_for() -> None:
    world, reactor = World(), Reactor()
    found = begin(world, reactor)
    one = reactor.started[0]
    one.run.outReceived(b"well")
    one.end(0, all_closed=False)
    assert not found
    world.reactor.advance(0.5)
    assert found[0].ok and found[0].note == "well" and one.closed


def test_at_the_deadline_it_is_killed() -> None:
    world, reactor = World(), Reactor()
    begin(world, reactor)
    world.running.cancel()
    one = reactor.started[0]
    assert one.signals == ["KILL"] and one.closed
    one.end(None, 9)


def test_it_cannot_be_started() -> None:
    found = begin(World(), Reactor(OSError(11, "Resource temporarily unavailable")))
    assert found == [Result(False, "cannot be run: Resource temporarily unavailable")]


CONFIG = (
    "[frontend f]\nmode = tcp\nlisten = tcp:9999\nbackend = b\n[backend b]\n"
    "servers = a 10.0.0.1:1\n"
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("exec nothing-of-that-name", "there is no program"),
        ("exec ./plain.txt", "there is no program"),
        ("exec", "program is missing"),
        ("exec sh ok=256", "256"),
        ("exec sh concurrent=0", "concurrent"),
    ],
)
def test_mistakes(tmp_path: Path, words: str, message: str) -> None:
    (tmp_path / "plain.txt").write_text("not to be run")
    with pytest.raises(ConfigErrors, match=message):
        parse_config(f"{CONFIG}check = {words}\n", base_dir=str(tmp_path))


def test_paths_start_at_the_configuration(tmp_path: Path) -> None:
    script = tmp_path / "checks" / "one.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    config = parse_config(
        f"{CONFIG}check = exec checks/one.sh -p {{port}}\n", base_dir=str(tmp_path)
    )
    options = config.backends[0].check.probe.options  # type: ignore[union-attr]
    assert (options.path, options.arguments) == (str(script), ("-p", "{port}"))


REAL = """
import sys
from random import Random
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from lbproxy.config.model import Address, ServerSpec
from lbproxy.balance.live import LiveServer
from lbproxy.balance.server import ServerState
from lbproxy.interfaces import Env
from lbproxy.net.stock import StockNetwork
from lbproxy.probes.base import ProbeTarget
from lbproxy.probes.exec_ import ExecOptions, ExecProbe

address = Address("tcp", "10.0.0.1", 80)
network = StockNetwork(reactor).dialler
env = Env(now=reactor.seconds, random=Random(1), reactor=reactor)
probe = ExecProbe(ExecOptions("sh", ("-c", sys.argv[1])), env)
target = ProbeTarget(LiveServer("app", ServerSpec("a", address)), network, address, None, 5.0)
running = ensureDeferred(probe.check(target))
running.addBoth(lambda found: (print(found), reactor.callLater(0.1, reactor.stop)))
if len(sys.argv) > 2:
    reactor.callLater(float(sys.argv[2]), running.cancel)
reactor.run()
"""


def really(code: str, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REAL), code, *more],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_real_programs() -> None:
    assert "ok=True, note='10.0.0.1 80'" in really("echo $LBPROXY_ADDRESS $LBPROXY_PORT; cat")
    assert "ok=False, note='status 3: bad'" in really("echo bad >&2; exit 3")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("cancel", [True, False])
def test_real_children_do_not_survive(tmp_path: Path, cancel: bool) -> None:
    """Neither the deadline nor its own end leaves anything of a program behind."""
    note = tmp_path / "pid"
    wait = "; sleep 300" if cancel else ""
    out = really(f"sleep 300 & echo $! > {note}; echo started{wait}", *(["1.5"] if cancel else []))
    assert ("CancelledError" in out) if cancel else ("ok=True, note='started'" in out)
    pid = int(note.read_text())
    try:
        assert not alive(pid)
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
