"""``twistd lbproxy``: options and service maker; touches the global reactor, as only :mod:`lbproxy.cli` does too."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage

from lbproxy import __version__
from lbproxy.compiled import running
from lbproxy.config.errors import ConfigErrors
from lbproxy.errors import ListenError
from lbproxy.net.descriptors import raise_limit
from lbproxy.net.steady import keep_steady
from lbproxy.observe.events import EventKind
from lbproxy.process.gc import Heap
from lbproxy.process.logfile import append_only
from lbproxy.process.sdnotify import Systemd
from lbproxy.process.signals import StopSignals
from lbproxy.process.takeover import HandoverError, Takeover
from lbproxy.process.upgrade import Upgrader, holds_pid, write_pid
from lbproxy.registry import load_config
from lbproxy.service import LoadBalancer, refuse_nothing
from lbproxy.workers.master import Master

__all__ = ["Options", "makeService"]

_log = Logger()


class Options(usage.Options):
    """Command line of ``twistd lbproxy``."""

    synopsis = "[options]"
    longdesc = (
        "Balances TCP and HTTP as the configuration file says. Try `lbproxy demo` for a tour."
    )
    optParameters = [["config", "c", None, "configuration file (lb.ini)"]]

    def opt_version(self) -> None:
        """Print lbproxy's version and exit."""
        print(f"lbproxy {__version__}")
        sys.exit(0)

    def postOptions(self) -> None:
        """Refuse to start without a configuration that can be read."""
        if not self["config"]:
            raise usage.UsageError("--config FILE is needed, for example --config lb.ini")
        if not Path(self["config"]).is_file():
            what = "this is a folder" if Path(self["config"]).is_dir() else "no such file"
            raise usage.UsageError(f"{what}: {self['config']}")


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An address that cannot be bound is the operator's to solve: words, no traceback.  twistd itself has none."""
    if isinstance(error, ListenError):
        _log.error("{error}", error=error)
        print(f"lbproxy: {error}", file=sys.__stderr__)  # sys.stderr is the log by now
    else:
        sys.__excepthook__(kind, error, trace)


def makeService(options: Any) -> IService:
    """The service for ``options``; a bad configuration ends the program with every error and status 1."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    keep_steady(reactor)

    try:
        takeover = Takeover.from_environment()
        alone = load_config(Path(options["config"])).settings.workers == 1
        kind = LoadBalancer if alone else Master
        balancer = kind.from_config(Path(options["config"]), reactor=reactor)
        refuse_nothing(balancer.config)
    except (ConfigErrors, HandoverError) as errors:
        print(errors, file=sys.stderr)
        sys.exit(1)
    if takeover is not None:
        balancer.inherit(takeover.sockets, takeover.known)
    sys.excepthook = _say
    raise_limit()
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(balancer.reopen_logs))
    terminal = os.isatty(0)
    heap = Heap(reactor)
    reactor.callWhenRunning(heap.changed)
    balancer.events.subscribe(
        lambda event: heap.changed() if event.kind is EventKind.RELOAD else None
    )
    systemd = Systemd(reactor, lambda: balancer.serving, turning=lambda: balancer.turning)
    reactor.callWhenRunning(systemd.start)
    reactor.addSystemEventTrigger("before", "shutdown", systemd.stopping)

    if takeover is not None:
        reactor.callWhenRunning(
            takeover.start, reactor, lambda: balancer.serving, balancer.own_sockets
        )
        reactor.addSystemEventTrigger("after", "shutdown", takeover.remove_pidfile)
    balancer.upgrader = upgrader = _upgrader(options, reactor, balancer, systemd, takeover)
    reactor.addSystemEventTrigger("before", "shutdown", upgrader.abandon)
    log = _logfile(options.parent or {})
    signal.signal(signal.SIGUSR2, lambda *_: reactor.callFromThread(upgrader.begin))
    stops = StopSignals(reactor, lambda: balancer.config.settings.timeout_shutdown, balancer.hurry)
    reactor.callWhenRunning(append_only, log)
    reactor.callWhenRunning(stops.install)
    reactor.callWhenRunning(_say_hello, balancer)

    def hang_up() -> None:
        """SIGHUP: somebody wants a reload, or the terminal we run on is gone."""
        if terminal and _gone(0):
            reactor.stop()
        else:
            systemd.reload(balancer.reload)

    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(hang_up))
    return balancer


def _say_hello(balancer: LoadBalancer) -> None:
    config = balancer.config
    _log.info(
        "lbproxy {version} ({how}) serves {file} with {count}",
        version=__version__,
        how=running(),
        file=config.file,
        count="one process" if balancer.processes == 1 else f"{balancer.processes} workers",
    )


def _logfile(twistd: Any) -> str:
    """The log file of twistd, "" when it logs elsewhere; an absolute path, since a daemon changes its folder."""
    name = twistd.get("logfile") or ("" if twistd.get("nodaemon", True) else "twistd.log")
    return "" if name in ("", "-") or twistd.get("syslog") else os.path.abspath(name)  # noqa: PTH100


def _upgrader(
    options: Any, reactor: Any, balancer: LoadBalancer, systemd: Systemd, takeover: Takeover | None
) -> Upgrader:
    twistd = options.parent or {}
    command = _command(twistd, options["config"])  # now: a daemon changes its folder

    def pidfile() -> str:
        name = takeover.pidfile if takeover is not None else twistd.get("pidfile")
        path = os.path.abspath(name) if name else ""  # noqa: PTH100
        return path if holds_pid(path, os.getpid()) else ""

    def over(pid: int) -> None:
        systemd.handed_over(pid)
        path = pidfile()
        if path:
            try:
                write_pid(path, pid)
            except OSError as error:
                _log.error("upgrade: {path} names the old process: {error}", path=path, error=error)
            twistd["pidfile"] = ""  # what twistd would remove

    log = _logfile(twistd)

    def prepare() -> None:
        append_only(log)  # it may have been rotated since the start

    return Upgrader(reactor, balancer, command, pidfile=pidfile, prepare=prepare, over=over)


def _command(twistd: Any, config: str) -> list[str]:
    """How a new program is started from this one: in its place, so not as a daemon, and as its user."""
    line = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    line += ["--nodaemon", "--pidfile="]
    for name in ("reactor", "logger", "prefix"):
        if twistd.get(name):
            line.append(f"--{name}={twistd[name]}")
    if twistd.get("syslog"):
        line.append("--syslog")
    else:
        logfile = twistd.get("logfile") or ("-" if twistd.get("nodaemon", True) else "twistd.log")
        line.append(f"--logfile={logfile if logfile == '-' else os.path.abspath(logfile)}")  # noqa: PTH100
    return [*line, "lbproxy", "--config", os.path.abspath(config)]  # noqa: PTH100


def _gone(fd: int) -> bool:
    """The other side of a terminal has hung up."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(
        event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0)
    )
