"""CONTROL. Notices as the standard input of a program."""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from lbproxy.alerts.destination import Destination, NotifyError, document, one_line, words_of
from lbproxy.config.model import CommandSpec
from lbproxy.observe.notices import Notice

__all__ = ["CommandTarget"]

_GRACE = 0.2  # seconds


class _Run(ProcessProtocol):
    """Runs the program with the document on its standard input. The end of its output is kept for
    the process log.

    ``done`` fires when the program has exited and its output is complete, or :data:`_GRACE` after
    the exit, because background processes may hold the pipes. Cancelling it kills the program.
    """

    def __init__(self, data: bytes, reactor: Any) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._kill())
        self.said = b""
        self._data = data
        self._reactor = reactor
        self._grace: Any = None

    def connectionMade(self) -> None:
        """Write the document to the running program."""
        assert self.transport is not None
        self.transport.write(self._data)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep the end of the program's output."""
        self.said = (self.said + data)[-500:]

    errReceived = outReceived

    def processExited(self, reason: Failure) -> None:
        """Note the end of the program. Output may still follow."""
        self._grace = self._reactor.callLater(_GRACE, self.processEnded, reason)

    def processEnded(self, reason: Failure) -> None:
        """The program has ended and its output is complete."""
        if self._grace is not None and self._grace.active():
            self._grace.cancel()
        self._close()
        if not self.done.called:
            self.done.callback(None) if reason.check(ProcessDone) else self.done.errback(reason)

    def _kill(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            with suppress(ProcessExitedAlready):
                transport.signalProcess("KILL")
        self._close()

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class CommandTarget(Destination):
    """Sends notices to a program; see :class:`lbproxy.config.model.CommandSpec`.

    The program gets the notice as JSON on standard input. Its environment is ``PATH``,
    ``LBPROXY_TITLE``, ``LBPROXY_TEXT`` and ``LBPROXY_SEVERITY``.
    """

    def __init__(self, spec: CommandSpec, reactor: Any) -> None:
        super().__init__(reactor)
        self._spec = spec
        self.name = f"command {spec.argv[0]}"[:80]

    async def send(self, notice: Notice) -> None:
        """See :class:`Destination`."""
        run = _Run(json.dumps(document(notice)).encode("ascii"), self._reactor)
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LBPROXY_TITLE": one_line(notice.title),
            "LBPROXY_TEXT": notice.text.replace("\0", ""),
            "LBPROXY_SEVERITY": notice.severity.value,
        }
        argv = self._spec.argv
        try:
            self._reactor.spawnProcess(run, argv[0], argv, env=environment, path="/")
        except OSError as error:
            raise NotifyError(words_of(error)) from None
        run.done.addTimeout(self._spec.timeout, self._reactor)
        try:
            await run.done
        except TimeoutError:
            raise NotifyError(f"killed after {self._spec.timeout:g} s") from None
        except CancelledError:
            raise
        except Exception as error:
            said = one_line(run.said.decode("utf-8", "replace"))
            raise NotifyError(f"{words_of(error)}{f': {said}' if said else ''}") from None
