"""``twistd lbproxy`` as a child process: what operators see, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from lbproxy import __version__
from lbproxy.compiled import running
from tests.support.forkserver import Forked
from tests.support.lb_process import ROOT, LBProcess, sooner
from tests.support.ports import free_ports
from tests.support.process import accepts, descendants, until
from tests.support.required import missing

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
ENDED = (0, -signal.SIGTERM)  # Twisted ends by the signal that stopped it
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


class Echo:
    """A server on the loopback address; ``hold`` of a session's life is its client's business."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    @staticmethod
    def _serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(65536):
                sock.sendall(data)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def config(port: int, server: int, more: str = "") -> str:
    return f"""
[lbproxy]
access_log = access.log json
timeout_shutdown = 5s
{more}
[frontend t]
mode = tcp
listen = tcp:{port}:interface=127.0.0.1
backend = raw

[backend raw]
servers = a 127.0.0.1:{server}
"""


def twistd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TWISTD, *arguments], cwd=folder, env=ENV, capture_output=True, text=True, timeout=60
    )


def forked(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What :func:`twistd` returns, of a fork of a process that has imported lbproxy."""
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        code = Forked(arguments, out.fileno(), folder, ENV, err.fileno()).wait(60)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


def talk(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 60)
    sock.settimeout(60)
    say(sock)
    return sock


def say(sock: socket.socket) -> None:
    sock.sendall(b"hello")
    assert sock.recv(100) == b"hello"


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_it_serves_rotates_its_logs_and_stops_when_sessions_have_ended(
    tmp_path: Path, echo: Echo
) -> None:
    (port,) = free_ports(1)
    with LBProcess(config(port, echo.port), tmp_path, ports=[port], forked=True) as lb:
        log, old = tmp_path / "access.log", tmp_path / "access.log.1"
        talk(port).close()
        assert until(lambda: len(records(log)) >= 1)
        log.rename(old)
        before = len(records(old))
        lb.child.send_signal(signal.SIGUSR1)
        assert until(log.exists)
        with talk(port) as sock:
            lb.child.send_signal(signal.SIGTERM)
            assert until(lambda: not accepts(port))
            say(sock)
            assert lb.alive
        assert lb.child.process.wait(60) in ENDED
        assert len(records(old)) == before
        assert [record["close"] for record in records(log)][-1] == "ok"
        assert "Traceback" not in lb.output()


def test_sessions_that_do_not_end_are_cut_off(tmp_path: Path, echo: Echo) -> None:
    (port,) = free_ports(1)
    text = config(port, echo.port).replace("timeout_shutdown = 5s", "timeout_shutdown = 300ms")
    with LBProcess(text, tmp_path, ports=[port], forked=True) as lb, talk(port) as sock:
        assert lb.stop() in ENDED
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert records(tmp_path / "access.log")[-1]["close"] == "shutdown"
        assert "1 sessions cut off at shutdown" in lb.output()


def test_a_second_ctrl_c_cuts_them_off(tmp_path: Path, echo: Echo) -> None:
    (port,) = free_ports(1)
    text = config(port, echo.port).replace("timeout_shutdown = 5s", "timeout_shutdown = 600s")
    with LBProcess(text, tmp_path, ports=[port], forked=True) as lb, talk(port) as sock:
        lb.child.send_signal(signal.SIGINT)
        assert until(lambda: "stopping: sessions may finish for up to 600 s" in lb.output())
        say(sock)
        for _ in range(3):
            lb.child.send_signal(signal.SIGINT)
        assert lb.child.process.wait(60) in (*ENDED, -signal.SIGINT)
        assert records(tmp_path / "access.log")[-1]["close"] == "shutdown"
        assert "Traceback" not in lb.output() and "ReactorNotRunning" not in lb.output()


def test_a_bad_configuration_is_told_in_full(tmp_path: Path) -> None:
    (tmp_path / "lb.ini").write_text(
        "[frontend t]\nmode = tpc\nlisten = tcp:99999\nbackend = raw\n"
        "[backend raw]\nservers = a 10.0.0.1\n"
    )
    done = forked(tmp_path, "-n", "--pidfile=", "lbproxy", "--config", "lb.ini")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if "lb.ini:" in line]
    assert [line.split(":")[1] for line in lines] == ["2", "3", "6"]
    assert "did you mean 'tcp'?" in lines[0]
    (tmp_path / "lb.ini").write_text("")
    done = forked(tmp_path, "-n", "--pidfile=", "lbproxy", "--config", "lb.ini")
    assert (done.returncode, done.stdout) == (1, "")
    assert "lb.ini: serves nothing: there is no [frontend NAME]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--config", "nowhere.ini"], "no such file: nowhere.ini"), ([], "--config FILE is needed")],
)
def test_no_configuration(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = forked(tmp_path, "-n", "--pidfile=", "lbproxy", *arguments)
    assert done.returncode == 1
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_port_in_use_is_said_in_words(tmp_path: Path, echo: Echo) -> None:
    text = config(echo.port, echo.port)
    (tmp_path / "lb.ini").write_text(text)
    done = forked(tmp_path, "-n", "lbproxy", "--config", "lb.ini")
    assert done.returncode == 1
    assert f"lbproxy: cannot listen on 127.0.0.1:{echo.port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "twistd.pid").exists()


def test_a_port_in_use_when_daemonised(tmp_path: Path, echo: Echo) -> None:
    (tmp_path / "lb.ini").write_text(config(echo.port, echo.port))
    done = forked(tmp_path, "--logfile=lb.log", "--pidfile=lb.pid", "lbproxy", "--config", "lb.ini")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{echo.port}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert until(
        lambda: not (tmp_path / "lb.pid").exists(), 15
    )  # the child tidies up after the parent has told


def test_as_a_daemon(tmp_path: Path, echo: Echo) -> None:
    (port,) = free_ports(1)
    (tmp_path / "lb.ini").write_text(config(port, echo.port))
    done = twistd(tmp_path, "--logfile=lb.log", "--pidfile=lb.pid", "lbproxy", "--config", "lb.ini")
    said = (tmp_path / "lb.log").read_text()
    assert (done.returncode, done.stderr) == (0, ""), said
    pid = int((tmp_path / "lb.pid").read_text())
    try:
        talk(port).close()
    finally:
        os.kill(pid, signal.SIGTERM)
    assert until(lambda: not (tmp_path / "lb.pid").exists())
    assert until(lambda: not Path(f"/proc/{pid}").exists())
    log = (tmp_path / "lb.log").read_text()
    assert f"frontend t (tcp) listens on 127.0.0.1:{port}" in log
    hello = f"lbproxy {__version__} ({running()}) serves lb.ini with one process"
    assert hello in log
    assert "Traceback" not in log
    assert [record["close"] for record in records(tmp_path / "access.log")] == ["ok"]


def test_a_hang_up_is_a_reload_and_ends_nothing(tmp_path: Path, echo: Echo) -> None:
    port, more = free_ports(2)
    text = config(port, echo.port)
    with LBProcess(text, tmp_path, ports=[port], forked=True) as lb, talk(port) as sock:
        lb.child.send_signal(signal.SIGHUP)
        assert until(lambda: "reload: nothing changes, kept 1 of 1 sessions" in lb.output())
        lb.config.write_text(text.replace("listen =", f"listen =\n    127.0.0.1:{more}\n   "))
        lb.child.send_signal(signal.SIGHUP)
        assert until(lambda: accepts(more))
        lb.config.write_text(text.replace("mode = tcp", "mode = nonsense"))
        lb.child.send_signal(signal.SIGHUP)
        assert until(lambda: "reload: nothing was changed" in lb.output())
        assert "lb.ini:" in lb.output()
        say(sock)
        for address in (port, more):
            talk(address).close()
        assert lb.alive
        assert "Traceback" not in lb.output()


def test_files_are_watched(tmp_path: Path, echo: Echo) -> None:
    port, more = free_ports(2)
    text = config(port, echo.port, "watch = yes")
    (tmp_path / "conf.d").mkdir()
    modules = sooner(tmp_path / "modules", "lbproxy.process.filewatch.EVERY", 0.1)
    text = f"include = conf.d/*.ini\n{text}"
    with LBProcess(text, tmp_path, ports=[port], modules=modules) as lb:
        with talk(port) as sock:
            (tmp_path / "conf.d" / "more.ini").write_text(
                f"[frontend m]\nmode = tcp\nlisten = 127.0.0.1:{more}\nbackend = raw\n"
            )
            assert until(lambda: accepts(more))
            (tmp_path / "conf.d" / "more.ini").write_text("[frontend m]\nnonsense = 1\n")
            assert until(lambda: "reload: nothing was changed" in lb.output())
            (tmp_path / "conf.d" / "more.ini").unlink()
            assert until(lambda: not accepts(more))
            say(sock)
        assert "Traceback" not in lb.output()


def test_a_terminal_that_is_still_there_hears_of_a_reload(tmp_path: Path, echo: Echo) -> None:
    (port,) = free_ports(1)
    (tmp_path / "lb.ini").write_text(config(port, echo.port))
    ours, terminal = pty.openpty()
    arguments = [*TWISTD, "-n", "--pidfile=", "--logfile=lb.log", "lbproxy", "--config", "lb.ini"]
    child = subprocess.Popen(arguments, cwd=tmp_path, env=ENV, stdin=terminal)
    try:
        assert until(lambda: accepts(port))
        child.send_signal(signal.SIGHUP)
        assert until(lambda: "reload: nothing changes" in (tmp_path / "lb.log").read_text())
        assert accepts(port)
    finally:
        child.terminate()
        child.wait(60)
        os.close(ours)
        os.close(terminal)


def test_a_lost_terminal_stops_it_gracefully(tmp_path: Path, echo: Echo) -> None:
    (port,) = free_ports(1)
    (tmp_path / "lb.ini").write_text(config(port, echo.port))
    ours, terminal = pty.openpty()
    arguments = [*TWISTD, "-n", "--pidfile=", "--logfile=lb.log", "lbproxy", "--config", "lb.ini"]
    child = subprocess.Popen(arguments, cwd=tmp_path, env=ENV, stdin=terminal)
    try:
        assert until(lambda: accepts(port))
        with talk(port) as sock:
            os.close(ours)
            child.send_signal(signal.SIGHUP)
            assert until(lambda: not accepts(port))
            say(sock)
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.wait()
        os.close(terminal)


def test_version_and_help(tmp_path: Path) -> None:
    version = twistd(tmp_path, "lbproxy", "--version")
    assert version.returncode == 0 and version.stdout.startswith("lbproxy ")
    assert "--config" in twistd(tmp_path, "lbproxy", "--help").stdout


def test_under_systemd(tmp_path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(60)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")

    def heard(word: str) -> str:
        while True:
            text = manager.recv(4096).decode()
            if text.startswith(word):
                return text

    (port,) = free_ports(1)
    with LBProcess(config(port, echo.port), tmp_path, ports=[port], forked=True) as lb:
        heard("READY=1")
        heard("WATCHDOG=1")
        talk(port).close()
        lb.child.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in heard("RELOADING=1")
        assert "nothing changes" in heard("READY=1")
        lb.child.send_signal(signal.SIGTERM)
        heard("STOPPING=1")
    manager.close()


def test_as_the_first_process_of_a_container(tmp_path: Path, echo: Echo) -> None:
    """Process 1 of its own process namespace: its log on standard output, and SIGTERM ends it."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        missing("needs root and unshare")
    (port,) = free_ports(1)
    (tmp_path / "lb.ini").write_text(
        config(port, echo.port, "workers = 2").replace("access.log json", "stdout json")
    )
    command = [unshare, "--pid", "--fork", "--mount-proc", "--kill-child"]
    log = (tmp_path / "out.log").open("wb")
    child = subprocess.Popen(
        [*command, sys.executable, "-m", "lbproxy", "run", "lb.ini"],
        cwd=tmp_path, env=ENV, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        output = tmp_path / "out.log"
        if not until(lambda: output.read_text().count(" serves (pid") == 2, 60):
            missing(f"no namespaces here: {output.read_text()[-300:]}")
        (first,) = descendants(child.pid)[:1]
        talk(port).close()
        assert until(lambda: '"close":"ok"' in output.read_text())
        os.kill(descendants(first)[0], signal.SIGKILL)
        assert until(lambda: output.read_text().count(" serves (pid") == 3, 60)
        assert len(descendants(first)) == 2, "the dead one is no zombie"
        os.kill(first, signal.SIGTERM)
        child.wait(60)
        assert "Traceback" not in output.read_text()
    finally:
        child.kill()
        child.wait()
        log.close()


RUN = [sys.executable, "-m", "lbproxy", "run"]


def test_run_keeps_its_messages_apart_from_the_access_log(tmp_path: Path, echo: Echo) -> None:
    """On standard error, as JSON; standard output has the access log alone, also after an
    upgrade.
    """
    (port,) = free_ports(1)
    text = config(port, echo.port, "process_log = json").replace("access.log json", "stdout json")
    (tmp_path / "lb.ini").write_text(text)
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            [*RUN, "lb.ini"], cwd=tmp_path, env=ENV, stdout=stdout, stderr=stderr
        )
    successor = 0
    try:
        assert until(lambda: accepts(port)), err.read_text()
        talk(port).close()
        process.send_signal(signal.SIGUSR2)
        assert until(lambda: process.poll() is not None), err.read_text()
        messages = [json.loads(line) for line in err.read_text().splitlines()]
        (successor,) = (
            int(one["message"].split()[2]) for one in messages if "serves now" in one["message"]
        )
        talk(port).close()
        os.kill(successor, signal.SIGTERM)
        assert until(lambda: "Server Shut Down." in err.read_text().splitlines()[-1])
        successor = 0
    finally:
        for pid in filter(None, (process.pid if process.poll() is None else 0, successor)):
            os.kill(pid, signal.SIGKILL)
    messages = [json.loads(line) for line in err.read_text().splitlines()]
    assert {"info"} == {one["level"] for one in messages}
    assert any("took over from process" in one["message"] for one in messages)
    closes = [record["close"] for record in records(out)]  # a try to connect may count, too
    assert len(closes) >= 2 and set(closes) == {"ok"}


@pytest.mark.parametrize(("text", "words"), [("", "serves nothing"), ("[front", "section header")])
def test_run_with_a_configuration_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = Path("/dev/null")
    if text:
        path = tmp_path / "lb.ini"
        path.write_text(text)
    done = subprocess.run(
        [*RUN, str(path)], cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr and "Usage" not in done.stderr


def test_run_reads_no_plugins_of_twistd(tmp_path: Path) -> None:
    """Twisted's cache of plugins would be written beside them, or the failure logged."""
    code = (
        "import sys\n"
        "import twisted.plugin\n"
        "def refuse(*_): raise SystemExit('plugins are read')\n"
        "twisted.plugin.getPlugins = refuse\n"
        "from twisted.application import app\n"
        "from lbproxy.cli.foreground import ForegroundOptions\n"
        "options = ForegroundOptions()\n"
        "options.parseOptions(['-n', '--pidfile=', 'lbproxy', '--config', sys.argv[1]])\n"
        "print(options.subCommand, list(options.loadedPlugins))\n"
    )
    path = tmp_path / "lb.ini"
    path.touch()
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=ENV, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "lbproxy ['lbproxy']\n", done.stderr
