"""``twistd lbproxy``: options and service maker.

Only this module and :mod:`lbproxy.cli` use the global reactor.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
import sys
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.logfile import LogFile

from lbproxy import __version__
from lbproxy.compiled import running
from lbproxy.config.errors import ConfigErrors
from lbproxy.errors import ListenError
from lbproxy.logs.trouble import trouble_with
from lbproxy.net.descriptors import raise_limit
from lbproxy.net.dispatch import dispatch_directly
from lbproxy.net.steady import keep_steady
from lbproxy.observe.events import EventKind
from lbproxy.process.gc import Freezer
from lbproxy.process.logfile import append_only
from lbproxy.process.privileges import acting_as, log_files, obstacles, prepare_logs
from lbproxy.process.processlog import ProcessLog
from lbproxy.process.sdnotify import Systemd
from lbproxy.process.signals import StopSignals
from lbproxy.process.takeover import HandoverError, Takeover
from lbproxy.process.upgrade import Upgrader, holds_pid, write_pid
from lbproxy.registry import load_config, refuse_nothing
from lbproxy.service import LoadBalancer
from lbproxy.workers.master import Master

__all__ = ["Options", "Program", "makeService"]

_log = Logger()

TWISTD = "from twisted.scripts.twistd import run; run()"
"""The Python code of twistd."""


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
        path = Path(self["config"])
        if path.is_dir() or not path.exists():
            what = "this is a folder" if path.is_dir() else "no such file"
            raise usage.UsageError(f"{what}: {path}")


class Program(MultiService):
    """The load balancer as the program of twistd, with its own process log."""

    def __init__(self, balancer: LoadBalancer, log: ProcessLog | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._log = log
        balancer.setServiceParent(self)  # type: ignore[no-untyped-call]

    def setServiceParent(self, parent: Any) -> None:
        """``parent``: twistd's application; the process log becomes its observer."""
        if self._log is not None:
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an address that cannot be bound without a traceback."""
    if isinstance(error, ListenError):
        _log.error("{error}", error=error)
        print(f"lbproxy: {error}", file=sys.__stderr__)  # sys.stderr is the log by now
    else:
        sys.__excepthook__(kind, error, trace)


def makeService(options: Any) -> IService:
    """Return the program for ``options``; exit with status 1 and all errors if it cannot serve."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    keep_steady(reactor)
    dispatch_directly(reactor)

    try:
        takeover = Takeover.from_environment()
        alone = load_config(Path(options["config"])).settings.workers == 1
        kind = LoadBalancer if alone else Master
        balancer = kind.from_config(Path(options["config"]), reactor=reactor)
        refuse_nothing(balancer.config)
    except (ConfigErrors, HandoverError) as errors:
        print(errors, file=sys.stderr)
        sys.exit(1)
    twistd = options.parent or {}
    _prepare_user(balancer, twistd)
    if takeover is not None:
        balancer.inherit(takeover.sockets, takeover.known)
    sys.excepthook = _say
    raise_limit()
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(balancer.reopen_logs))
    terminal = os.isatty(0)
    freezer = Freezer(reactor)
    reactor.callWhenRunning(freezer.changed)
    balancer.events.subscribe(
        lambda event: freezer.changed() if event.kind is EventKind.RELOAD else None
    )
    systemd = Systemd(reactor, lambda: balancer.serving, turning=lambda: balancer.turning)
    reactor.callWhenRunning(systemd.start)
    reactor.addSystemEventTrigger("before", "shutdown", systemd.stopping)

    if takeover is not None:
        own = partial(_taken_over, balancer, takeover)
        reactor.callWhenRunning(
            takeover.start, reactor, lambda: balancer.serving, own, balancer.complete
        )
        reactor.addSystemEventTrigger("after", "shutdown", takeover.remove_pidfile)
    balancer.upgrader = upgrader = _upgrader(options, reactor, balancer, systemd, takeover)
    reactor.addSystemEventTrigger("before", "shutdown", upgrader.abandon)
    log = _logfile(twistd)
    signal.signal(signal.SIGUSR2, lambda *_: reactor.callFromThread(upgrader.begin))
    stops = StopSignals(reactor, lambda: balancer.config.settings.timeout_shutdown, balancer.hurry)
    reactor.callWhenRunning(append_only, log)
    reactor.callWhenRunning(stops.install)
    reactor.callWhenRunning(_say_hello, balancer)

    def hang_up() -> None:
        """SIGHUP: reload, or stop if our terminal is gone."""
        if terminal and _gone(0):
            reactor.stop()
        else:
            systemd.reload(balancer.reload)

    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(hang_up))
    return Program(balancer, _process_log(twistd, balancer, takeover))


def _taken_over(balancer: LoadBalancer, takeover: Takeover) -> None:
    """This process serves: the sockets are its own from now on."""
    balancer.own_sockets()
    pid = os.getpid()
    text = f"process {pid} has taken over from process {takeover.predecessor}"
    balancer.events.add(EventKind.UPGRADE, "", text, pid=pid)


def _process_log(
    twistd: Any, balancer: LoadBalancer, takeover: Takeover | None
) -> ProcessLog | None:
    """Return the process log with twistd's destination; None to leave it to twistd."""
    name, nodaemon = twistd.get("logfile"), twistd.get("nodaemon", True)
    if twistd.get("logger") or twistd.get("syslog") or (name == "-" and not nodaemon):
        return None
    path = _logfile(twistd)
    stream: Any = sys.stdout if name == "-" else getattr(twistd, "stream", sys.stdout)
    if path:
        stream = LogFile.fromFullPath(path)
    elif takeover is not None and stream is sys.stderr:
        stream = takeover.stderr()
    return ProcessLog(stream, lambda: balancer.config.settings.process_log)


def _prepare_user(balancer: LoadBalancer, twistd: Any) -> None:
    """With ``--uid``: exit with status 1 if that user could not write what lbproxy will write."""
    uid, gid = twistd.get("uid"), twistd.get("gid")
    if uid is None or os.geteuid() != 0:
        return
    gid = pwd.getpwuid(uid).pw_gid if gid is None else gid
    prepare_logs(log_files(balancer.config), uid, gid)
    with acting_as(uid, gid):
        errors, warnings = obstacles(balancer.config, trouble_with, twistd.get("pidfile") or "")
    for text in warnings:
        print(f"lbproxy: warning: {text}", file=sys.stderr)
    if errors:
        who = pwd.getpwuid(uid).pw_name
        print("\n".join(f"lbproxy: as user {who}: {text}" for text in errors), file=sys.stderr)
        sys.exit(1)


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
    """Return the absolute path of twistd's log file; "" if it logs elsewhere."""
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
    """Return the command line of a successor: not as a daemon, and as the same user."""
    line = [sys.executable, "-c", getattr(twistd, "program", TWISTD), "--nodaemon", "--pidfile="]
    for name in ("reactor", "logger", "prefix"):
        if twistd.get(name):
            line.append(f"--{name}={twistd[name]}")
    if twistd.get("syslog"):
        line.append("--syslog")
    elif _logfile(twistd):
        line.append(f"--logfile={_logfile(twistd)}")
    elif twistd.get("logfile"):
        line.append("--logfile=-")
    return [*line, "lbproxy", "--config", os.path.abspath(config)]  # noqa: PTH100


def _gone(fd: int) -> bool:
    """Return whether the other side of a terminal has hung up."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(
        event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0)
    )
