"""CONTROL. ``python -m lbproxy.workers STACK CHANNEL``: a worker process. Only the master starts
it.

The arguments are descriptors: a file for its stack, and its end of the channel.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from typing import Any

from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogBeginner
from zope.interface import implementer

from lbproxy.net.descriptors import raise_limit
from lbproxy.net.dispatch import dispatch_directly
from lbproxy.net.steady import keep_steady
from lbproxy.workers.supervisor import STACK_SIGNAL
from lbproxy.workers.worker import Worker, ignore_signals

# maximum number of bytes that the master has not read; further lines are lost
_LOG_BEHIND = 1024 * 1024


def main() -> None:
    """Serve until the master or a signal stops the process."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    keep_steady(reactor)
    dispatch_directly(reactor)
    ignore_signals()
    raise_limit()
    stack, channel = (int(text) for text in sys.argv[1:3])
    os.set_inheritable(stack, False)
    faulthandler.register(STACK_SIGNAL, file=stack, all_threads=True)
    sock = socket.socket(fileno=channel)
    sock.set_inheritable(False)  # a child process of a filter must not keep it open after our end
    worker = Worker(reactor, sock, lambda: reactor.callLater(0, reactor.stop))

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        level = event.get("log_level") or LogLevel.info
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}"
        if text and worker.channel.behind < _LOG_BEHIND:
            worker.channel.send({"type": "log", "level": level.name, "text": text})

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False, discardBuffer=True)
    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(worker.stop))
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    main()
