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
from lbproxy.config.errors import ConfigErrors
from lbproxy.control.sdnotify import Systemd
from lbproxy.errors import ListenError
from lbproxy.net.descriptors import raise_limit
from lbproxy.registry import load_config
from lbproxy.service import LoadBalancer
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

    try:
        alone = load_config(Path(options["config"])).settings.workers == 1
        kind = LoadBalancer if alone else Master
        balancer = kind.from_config(Path(options["config"]), reactor=reactor)
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
        sys.exit(1)
    sys.excepthook = _say
    raise_limit()
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(balancer.reopen_logs))
    terminal = os.isatty(0)
    systemd = Systemd(reactor, lambda: balancer.serving)
    reactor.callWhenRunning(systemd.start)
    reactor.addSystemEventTrigger("before", "shutdown", systemd.stopping)

    def hang_up() -> None:
        """SIGHUP: somebody wants a reload, or the terminal we run on is gone."""
        if terminal and _gone(0):
            reactor.stop()
        else:
            systemd.reload(balancer.reload)

    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(hang_up))
    return balancer


def _gone(fd: int) -> bool:
    """The other side of a terminal has hung up."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(
        event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0)
    )
