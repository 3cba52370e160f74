"""CONTROL. The master of several worker processes, which binds, runs checks, adds up counters and
serves operators.

:class:`Master` is a :class:`lbproxy.service.LoadBalancer` without clients. It runs the checks, so
that its server states are the original ones, which workers copy
(:mod:`lbproxy.workers.serverstate`). It has the admin API; :mod:`lbproxy.workers.operations`
defines the operations. Its counters are the sums of its workers'
(:mod:`lbproxy.workers.aggregate`).
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger, LogLevel

from lbproxy.generation.listening import unbind
from lbproxy.generation.reload import ReloadReport
from lbproxy.limits.window import SLICES
from lbproxy.model import Address, Config
from lbproxy.net.endpoints import Network
from lbproxy.net.fast import choose_network
from lbproxy.observe.events import EventKind, EventSeverity
from lbproxy.observe.follow import ViewerLine
from lbproxy.process.replication import StickyReplication
from lbproxy.service import LoadBalancer
from lbproxy.sharing.local import LocalShared
from lbproxy.workers.aggregate import Totals
from lbproxy.workers.board import ADDRESSES, Board
from lbproxy.workers.channel import FDS, Channel
from lbproxy.workers.handout import Handout
from lbproxy.workers.operations import spread
from lbproxy.workers.process import WorkerProcess
from lbproxy.workers.replicated import Hub
from lbproxy.workers.rpc import RemoteCalls
from lbproxy.workers.sharedcells import SharedCells
from lbproxy.workers.sharedfolder import SharedFolder
from lbproxy.workers.sockets import MasterBinder
from lbproxy.workers.supervisor import Supervisor

__all__ = ["Master", "count_of"]

_log = Logger()

SYNC_EVERY = 0.25
"""Maximum delay in seconds until every worker has a change of the state."""


def count_of(config: Config) -> int:
    """Return the number of workers in a configuration."""
    return config.settings.workers or len(os.sched_getaffinity(0))


@spread
class Master(LoadBalancer):
    """The load balancer of the master; see the module."""

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        network: Network | None = None,
        random: Random | None = None,
    ) -> None:
        self.count = count_of(config)
        self._supervisor = Supervisor(reactor, self.count, self)
        self.workers = self._supervisor.workers
        inner = network or choose_network(config.settings.transport, reactor)
        binder = MasterBinder(inner.binder, self.count, self._holds)
        network = Network(binder, inner.dialler)
        self.hub = Hub(reactor, network.wheel.now)
        self._folder = SharedFolder()
        self._shared = shared = LocalShared(self.count, str(self._folder.path))
        super().__init__(
            config,
            reactor=reactor,
            network=network,
            random=random,
            shared=shared,
            replicated=self.hub,
        )
        self.processes = self.count
        self._boards: list[Board] = []
        self._cells: list[SharedCells] = []
        self._wakers: list[int] = []
        self._calls = RemoteCalls(reactor)
        self._totals = Totals(self)
        self._handout = Handout(self, self.workers, self._ground.secret, str(self._folder.path))
        self._sticky = StickyReplication(self.hub, lambda: self.backends)
        self._sync_call: Any = None

    # -- the service ----------------------------------------------------------------------------

    def startService(self) -> None:
        """Bind, then start the workers. Raises ListenError."""
        self._folder.create()
        super().startService()
        self._boards = [Board.create(self.count), Board.create(self.count, ADDRESSES)]
        self._cells = [SharedCells.create(extra) for extra in (0, SLICES)]
        self._shared.use({one.extra: one.table(self._ground.secret) for one in self._cells})
        flags = os.EFD_NONBLOCK | os.EFD_CLOEXEC
        self._wakers = [os.eventfd(0, flags) for _ in self.workers]
        self._supervisor.start()
        self._sync()

    def _start_backends(self) -> None:
        """Do nothing, because only workers have traffic."""

    def stopService(self) -> Deferred[None]:
        """Let the workers finish, kill those that exceed their time, then stop this process."""
        self.stopping = True
        if self._sync_call is not None:
            self._sync_call.cancel()
            self._sync_call = None
        closing = unbind(self.listeners)
        ends = self._supervisor.stop()
        return Deferred.fromCoroutine(self._when_ended([*closing, *ends]))

    async def _when_ended(self, ends: list[Deferred[Any]]) -> None:
        await DeferredList(ends, consumeErrors=True)
        try:
            self._forget_sessions()
        finally:
            await super().stopService()

    def _forget_sessions(self) -> None:
        self._calls.stop()
        for worker in self.workers:
            self._totals.ended(worker.slot)
        for board in self._boards:
            board.close()
        for cells in self._cells:
            cells.close()
        for fd in self._wakers:
            os.close(fd)
        self._boards, self._cells, self._wakers = [], [], []
        self._folder.remove()
        self._totals.write()

    @property
    def serving(self) -> bool:
        """True if every worker serves traffic."""
        return super().serving and all(worker.ready for worker in self.workers)

    @property
    def turning(self) -> bool:
        """True if no worker hangs."""
        return self._supervisor.turning

    @property
    def pids(self) -> Iterable[int]:
        """Process ids of the running workers."""
        return [worker.pid for worker in self.workers if worker.pid]

    # -- for the supervisor ---------------------------------------------------------------------

    def limits(self) -> tuple[float, float]:
        """See :class:`~lbproxy.workers.supervisor.SupervisedMaster`."""
        settings = self.config.settings
        return settings.timeout_shutdown, settings.worker_timeout

    def begin(self, worker: WorkerProcess, channel: Channel) -> None:
        """See :class:`~lbproxy.workers.supervisor.SupervisedMaster`."""
        worker.signatures, worker.followed = {}, []
        self._handout.send_sockets(worker, channel)
        for at in range(0, len(self._wakers), FDS):
            channel.send({"type": "wakers"}, self._wakers[at : at + FDS])
        message = {"type": "begin", "slot": worker.slot, "workers": self.count}
        cells = {"type": "cells", "extras": [one.extra for one in self._cells]}
        channel.send(cells, [one.fd for one in self._cells])
        boards = [board.fd for board in self._boards]
        channel.send({**message, **self._handout.everything(worker)}, boards)
        self.hub.attach(worker.slot, channel)

    def ended(self, worker: WorkerProcess) -> None:
        """See :class:`~lbproxy.workers.supervisor.SupervisedMaster`."""
        self._totals.ended(worker.slot)
        self._calls.lost(worker.slot)
        self.hub.detach(worker.slot)
        for board in self._boards:
            board.clear(worker.slot)

    def report(
        self,
        kind: EventKind,
        worker: WorkerProcess,
        text: str,
        severity: EventSeverity = EventSeverity.INFO,
        pid: int = 0,
    ) -> None:
        """See :class:`~lbproxy.workers.supervisor.SupervisedMaster`."""
        pid = pid or worker.pid
        _log.info("{text} (pid {pid})", text=text, pid=pid)
        self.events.add(kind, f"worker {worker.slot}", text, severity, pid=pid)

    def received(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        """See :class:`~lbproxy.workers.supervisor.SupervisedMaster`."""
        kind = message["type"]
        if kind == "report":
            self._totals.received(worker.slot, message["report"])
        elif kind == "replicated":
            self.hub.received(worker.slot, message)
        elif kind == "answer":
            self._calls.answered(worker.slot, message["number"], message["answer"])
        elif kind == "record":
            frontend = self.frontends.get(message["frontend"])
            for follower in frontend.followers if frontend is not None else ():
                follower(ViewerLine(message["line"], message["fine"]))
        elif kind == "missed":
            for follower in {
                follower for one in self.frontends.values() for follower in one.followers
            }:
                follower(ViewerLine("", False, message["records"]))
        elif kind == "log":
            level = LogLevel.lookupByName(message["level"])
            _log.emit(level, "worker {slot}: {text}", slot=worker.slot, text=message["text"])
        elif kind == "ready":
            self._ready(worker)
        elif kind == "failed":
            _log.error("worker {slot}: {why}", slot=worker.slot, why=message["why"])
            if worker.ready:  # it serves the old configuration: send the new one
                self._supervisor.bid_stop(worker)

    def _ready(self, worker: WorkerProcess) -> None:
        worker.busy = False
        if worker.outdated:
            self._handout.send_reload(worker)
        else:
            worker.holds = self._handout.addresses()
        if not worker.ready:
            worker.ready = True
            self.report(EventKind.WORKER_STARTED, worker, f"worker {worker.slot} serves")

    # -- while they run -------------------------------------------------------------------------

    def _holds(self, address: Address) -> bool:
        return self._handout.holds(address)

    def _sync(self) -> None:
        self._sync_call = self.reactor.callLater(SYNC_EVERY, self._sync)
        self._handout.send_state(patient=True)
        self._supervisor.watch()
        self.hub.tend()
        self._totals.write()

    # -- operations of a load balancer ----------------------------------------------------------

    def call_workers(
        self, operation: str, arguments: dict[str, Any], slot: int | None, *, answer: bool
    ) -> Deferred[dict[int, Any]]:
        """Run an operation in all workers, or in that of ``slot``. The Deferred fires with the
        answers by slot.

        Earlier state changes are sent first, so that a drained server gets no new sessions when its
        old ones are ended. Without ``answer`` it fires at once.
        """
        self._handout.send_state()
        channels = {
            one.slot: one.channel
            for one in self.workers
            if one.channel is not None and slot in (None, one.slot)
        }
        message = {"type": "run", "operation": operation, "arguments": arguments}
        if answer:
            return self._calls.send(channels, message)
        for channel in channels.values():
            channel.send({**message, "number": 0})
        done: Deferred[dict[int, Any]] = Deferred()
        done.callback({})
        return done

    def reload(
        self, source: Config | str | Path | None = None, *, dry_run: bool = False
    ) -> ReloadReport:
        """See LoadBalancer. The reload is tried in the master first, then every worker applies
        it.
        """
        report = super().reload(source, dry_run=dry_run)
        if report.ok and not dry_run and self.running:
            self._let_leave()
            for worker in self.workers:
                self._handout.send_reload(worker)
        return report

    def _let_leave(self) -> None:
        """Do not count sessions on removed objects here, because the workers manage them."""
        for leaving in self._reloader.leaving:
            for frontend in leaving.frontends:
                frontend.lineage.remote_clients = 0
            for backend in leaving.backends:
                backend.queue.remote = 0
                for server in backend.group.servers.values():
                    server.remote_sessions = 0
            for _, server in leaving.servers:
                server.remote_sessions = 0
