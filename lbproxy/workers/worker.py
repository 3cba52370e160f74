"""CONTROL. A worker process: a load balancer that the master controls.

:mod:`lbproxy.workers.process` starts it as ``python -m lbproxy.workers``. It accepts, balances and
logs. The master runs checks, the admin API and file watching. A worker ends gracefully if the
master requests it or has died.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import evolve
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from lbproxy.config.errors import ConfigErrors
from lbproxy.config.share import share_of
from lbproxy.errors import ListenError
from lbproxy.model import Address, Config
from lbproxy.net.endpoints import Network
from lbproxy.net.fast import choose_network
from lbproxy.process.gc import Freezer
from lbproxy.process.replication import StickyReplication
from lbproxy.registry import parse_config
from lbproxy.service import LoadBalancer
from lbproxy.workers.board import ADDRESSES, Board
from lbproxy.workers.channel import Channel
from lbproxy.workers.operations import run
from lbproxy.workers.records import Records
from lbproxy.workers.replicated import MasterReplicated
from lbproxy.workers.shared import BoardShared
from lbproxy.workers.sharedcells import SharedCells
from lbproxy.workers.sockets import WorkerBinder
from lbproxy.workers.turns import WorkerTurns
from lbproxy.workers.waker import Waker

__all__ = ["Worker", "worker_config"]

_log = Logger()


def worker_config(config: Config, workers: int, secret: str = "") -> Config:
    """Return the part of ``config`` that one of ``workers`` serves (:mod:`lbproxy.config.share`).

    ``secret``: used for a configuration without one, because workers with different secrets would
    not accept one another's cookies.
    """
    part = share_of(config, workers)
    if part.settings.secret or not secret:
        return part
    return evolve(part, settings=evolve(part.settings, secret=secret, made_secret=True))


class RefusedError(Exception):
    """A configuration that the master accepted fails in this worker."""


class Worker(WorkerTurns):
    """The worker's side. ``sock``: our end of the channel. ``ended`` is called at the end."""

    def __init__(self, reactor: Any, sock: socket.socket, ended: Callable[[], None]) -> None:
        super().__init__(reactor)
        self._binder: WorkerBinder | None = None
        self._sockets: list[tuple[Address, socket.socket]] = []
        self._boards: list[Board] = []
        self._cells: dict[int, SharedCells] = {}
        self._wakers: list[int] = []
        self._waker: Waker | None = None
        self._freezer = Freezer(reactor)
        self._slot = self._workers = 0
        self._ended = ended
        self._stopping = False
        self.channel = Channel(reactor, sock, self._received, self._orphaned)
        self._records = Records(self.channel.send)
        self.replicated = MasterReplicated(reactor, self.channel)
        self._sticky = StickyReplication(self.replicated, self._backends)

    # -- messages of the master -----------------------------------------------------------------

    def _received(self, message: dict[str, Any], fds: list[int]) -> None:
        """Handle a message. ``fds``: a handler removes the descriptors that it keeps."""
        try:
            handler = getattr(self, f"_on_{message['type']}", None)
            wanted = not self._stopping or message["type"] == "run"  # such as ``hurry``
            if handler is not None and wanted:
                handler(message, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _on_socket(self, message: dict[str, Any], fds: list[int]) -> None:
        """Receive a listening socket for the configuration that follows."""
        sock = socket.socket(fileno=fds[0])
        fds.pop(0)
        self._sockets.append((Address(**message["address"]), sock))

    def _on_wakers(self, message: dict[str, Any], fds: list[int]) -> None:
        """Receive the wakers of all workers, in the order of their slots, possibly in several
        messages.
        """
        self._wakers += fds
        fds.clear()

    def _on_cells(self, message: dict[str, Any], fds: list[int]) -> None:
        """Receive the tables of limits, before the message ``begin``."""
        for extra in message["extras"]:
            self._cells[extra] = SharedCells.map(fds.pop(0), extra)

    def _on_begin(self, message: dict[str, Any], fds: list[int]) -> None:
        """Receive the slot and the configuration.

        Any error is reported to the master, and the worker ends.
        """
        try:
            self._begin(message, fds)
        except BaseException as error:
            self._failed(error)
            self.stop()

    def _begin(self, message: dict[str, Any], fds: list[int]) -> None:
        self._slot, self._workers = message["slot"], message["workers"]
        self._boards.append(Board(fds[0], self._workers))
        fds.pop(0)
        self._boards.append(Board(fds[0], self._workers, ADDRESSES))
        fds.pop(0)
        secret = bytes.fromhex(message["secret"])
        self.shared = BoardShared(
            self._boards[0],
            self._boards[1],
            self._slot,
            self._places,
            secret,
            self._wakers,
            {extra: memory.table(secret) for extra, memory in self._cells.items()},
            message.get("shared_folder", ""),
        )
        if self._slot < len(self._wakers):
            self._waker = Waker(self.reactor, self._wakers[self._slot], self._woken)
        config = self._config(message)
        inner = choose_network(config.settings.transport, self.reactor)
        self._binder = WorkerBinder(inner.binder)
        network = Network(self._binder, inner.dialler)
        self.balancer = LoadBalancer(
            config,
            reactor=self.reactor,
            network=network,
            shared=self.shared,
            replicated=self.replicated,
        )
        self.balancer.processes = self._workers
        self.balancer.alerter.disownServiceParent()  # type: ignore[no-untyped-call]  # the master's
        self._join()
        self._give()
        self.balancer.privilegedStartService()
        self.balancer.startService()
        self._sync(message)
        self._binder.discard()
        self._measure(message)
        self._start_turns()
        self._freezer.changed()
        self.channel.send({"type": "ready"})

    def _on_reload(self, message: dict[str, Any], fds: list[int]) -> None:
        """Receive another configuration, which the master has accepted.

        If it fails here, the master restarts this worker.
        """
        try:
            self._reload(message)
        except BaseException as error:
            self._failed(error)

    def _reload(self, message: dict[str, Any]) -> None:
        balancer, binder = self.balancer, self._binder
        if balancer is None or binder is None:
            return
        self._give()
        try:
            report = balancer.reload(self._config(message))
        finally:
            binder.discard()
        self._join()
        self._measure(message)
        if not report.ok:
            raise RefusedError("; ".join(report.errors))
        self._freezer.changed()
        self._sync(message)
        self.channel.send({"type": "ready"})

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, ConfigErrors | ListenError | RefusedError):
            why = str(error)
        else:
            _log.failure("begin or reload")
            why = f"{type(error).__name__}: {error}"
        self.channel.send({"type": "failed", "why": why})

    def _on_state(self, message: dict[str, Any], fds: list[int]) -> None:
        """Receive the state of servers from the master."""
        if self.balancer is not None:
            self._sync(message)

    def _on_run(self, message: dict[str, Any], fds: list[int]) -> None:
        """Run the worker's part of an operation; ``number`` is 0 if no answer is needed."""
        answer = None
        if self.balancer is not None:
            answer = run(self.balancer, message["operation"], message["arguments"])
        if message["number"]:
            self.channel.send({"type": "answer", "number": message["number"], "answer": answer})

    def _on_publish(self, message: dict[str, Any], fds: list[int]) -> None:
        """Receive a message for :attr:`replicated`."""
        self.replicated.received(message["topic"], message["message"])

    def _on_answer(self, message: dict[str, Any], fds: list[int]) -> None:
        """Receive the answer to a call of :attr:`replicated`."""
        self.replicated.answered(message["number"], message["answer"])

    def _on_follow(self, message: dict[str, Any], fds: list[int]) -> None:
        """Receive the frontends whose access logs are followed."""
        if self.balancer is not None:
            self._records.want(message["frontends"], self.balancer.frontends)

    def _on_stop(self, message: dict[str, Any], fds: list[int]) -> None:
        """Finish the running sessions, and end."""
        self.stop()

    def _orphaned(self) -> None:
        """Handle the loss of the channel, which a log message may detect in the middle of a
        start.
        """
        _log.warn("the master has ended: stopping")
        self.reactor.callLater(0, self.stop)

    # -- doing it -------------------------------------------------------------------------------

    def _backends(self) -> Any:
        return self.balancer.backends if self.balancer is not None else {}

    def _config(self, message: dict[str, Any]) -> Config:
        config = parse_config(message["text"], message["file"], message["folder"])
        return worker_config(config, self._workers, message["secret"])

    def _give(self) -> None:
        assert self._binder is not None
        for address, sock in self._sockets:
            self._binder.give(address, sock)
        self._sockets.clear()

    # -- the end --------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop gracefully. A second call does nothing."""
        if self._stopping:
            return
        self._stopping = True
        if self.balancer is None:
            self._end()
            return
        stopped = maybeDeferred(self.balancer.stopService)
        stopped.addErrback(lambda failure: _log.failure("the end", failure))
        stopped.addCallback(lambda _: self._end())

    def _end(self) -> None:
        try:
            self._freezer.stop()
            self._stop_turns()
            self.replicated.stop()
            self._report()
            self._close()
        except BaseException:
            _log.failure("the last report")
        finally:
            self._ended()

    def _close(self) -> None:
        for _, sock in self._sockets:
            sock.close()
        if self._binder is not None:
            self._binder.discard()
        if self._waker is not None:
            self._waker.stop()
        while self._wakers:
            with suppress(OSError):
                os.close(self._wakers.pop())


def ignore_signals() -> None:
    """Ignore Ctrl-C and hang-up signals, which go to the whole process group; the master handles
    them.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
