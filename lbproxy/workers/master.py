"""CONTROL. The master of several worker processes: binds, starts and watches them, and is the one to talk to.

:class:`Master` is a :class:`lbproxy.service.LoadBalancer` that accepts nobody.  It runs the checks, so its server
states are the true ones; it has the admin side, so what operators change is changed in it first; and the counters in
it are the sums of its workers' (:mod:`lbproxy.workers.aggregate`).  A few times a second each worker is told what is
different.
"""

# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger, LogLevel

from lbproxy.config.dump import dump
from lbproxy.generation.listening import unbind
from lbproxy.generation.reload import ReloadReport
from lbproxy.model import Address, Config
from lbproxy.net.endpoints import Network
from lbproxy.net.fast import choose_network
from lbproxy.observe.events import EventKind, Severity
from lbproxy.observe.follow import Told
from lbproxy.operate.drain import SessionView
from lbproxy.process import replication
from lbproxy.proxy.features.rebalancer import Rebalance
from lbproxy.service import LoadBalancer
from lbproxy.workers.aggregate import Elsewhere, Tally
from lbproxy.workers.channel import Channel
from lbproxy.workers.process import FIRST_PAUSE, WorkerProcess
from lbproxy.workers.rpc import Questions, SessionQuery
from lbproxy.workers.shared import ADDRESSES, PLACES, Board, place_name
from lbproxy.workers.sockets import MasterBinder, SharedBound
from lbproxy.workers.states import signature, state_of

__all__ = ["Master", "count_of"]

_log = Logger()

SYNC_EVERY = 0.25
"""Seconds after which, at the latest, every worker knows what was changed or found out."""

_LONGEST_PAUSE = 5.0  # before a worker that died is started again
_GOOD = 10.0  # seconds after which a worker counts as healthy
_GRACE = 5.0  # beyond timeout_shutdown
_ANY = ("", "0.0.0.0", "::")
_BONDS_BEHIND = 8 * 1024 * 1024  # bytes: who has more to read is taught sticky tables anew


def count_of(config: Config) -> int:
    """How many workers a configuration asks for."""
    return config.settings.workers or len(os.sched_getaffinity(0))


class Master(LoadBalancer):
    """See the module.  ``workers``: by slot."""

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        network: Network | None = None,
        random: Random | None = None,
    ) -> None:
        self.count = count_of(config)
        inner = network or choose_network(config.settings.transport, reactor)
        self.workers = [WorkerProcess(slot) for slot in range(self.count)]
        binder = MasterBinder(inner.binder, self.count, self._holds)
        network = Network(binder, inner.dialler)
        super().__init__(config, reactor=reactor, network=network, random=random)
        self._board: Board | None = None
        self._addresses: Board | None = None
        self._questions = Questions(reactor)
        self._tally = Tally(self)
        self._places: dict[str, int] = {}
        self._sync_call: Any = None

    # -- the service ----------------------------------------------------------------------------

    def startService(self) -> None:
        """Bind, then start the workers.  Raises ListenError."""
        super().startService()
        self._board = Board.create(self.count)
        self._addresses = Board.create(self.count, ADDRESSES)
        for worker in self.workers:
            self._start(worker)
        self._sync()

    def _start_backends(self) -> None:
        """Only workers have traffic."""

    def stopService(self) -> Deferred[None]:
        """Tell the workers to finish, wait for them, end those that do not; then stop what runs here."""
        self.stopping = True
        if self._sync_call is not None:
            self._sync_call.cancel()
            self._sync_call = None
        closing = unbind(self.listeners)
        ends = [self._stop(worker) for worker in self.workers]
        return Deferred.fromCoroutine(self._when_ended([*closing, *ends]))

    async def _when_ended(self, ends: list[Deferred[Any]]) -> None:
        await DeferredList(ends, consumeErrors=True)
        try:
            self._forget_sessions()
        finally:
            await super().stopService()

    def _forget_sessions(self) -> None:
        for slot in range(self.count):
            self._tally.died(slot)
        self._tally.write()
        for board in (self._board, self._addresses):
            if board is not None:
                board.close()
        self._board = self._addresses = None

    @property
    def serving(self) -> bool:
        """Every worker serves."""
        return super().serving and all(worker.ready for worker in self.workers)

    # -- one worker -----------------------------------------------------------------------------

    def _start(self, worker: WorkerProcess) -> None:
        worker.call = None
        try:
            sock = worker.spawn()
        except OSError as error:
            _log.error("worker {slot} cannot be started: {error}", slot=worker.slot, error=error)
            self._again(worker)
            return
        worker.since = self.reactor.seconds()
        worker.ready = False
        worker.told, worker.tail = {}, []
        worker.channel = channel = Channel(
            self.reactor,
            sock,
            lambda message, _: self._heard(worker, message),
            lambda: self._lost(worker),
        )
        assert self._board is not None and self._addresses is not None
        self._send_sockets(worker, channel)
        message = {"do": "begin", "slot": worker.slot, "workers": self.count, **self._all(worker)}
        channel.send(message, [self._board.fd, self._addresses.fd])
        self._teach(worker, channel, replication.whole(self.backends))

    def _teach(
        self, worker: WorkerProcess, channel: Channel, left: Iterator[dict[str, Any]]
    ) -> None:
        """What sticky tables hold, a piece at a time, as the worker takes them: they may be large."""
        if worker.channel is not channel:
            return
        if channel.behind > _BONDS_BEHIND:
            self.reactor.callLater(SYNC_EVERY, self._teach, worker, channel, left)
            return
        changes = next(left, None)
        if changes is not None:
            channel.send({"do": "bonds", "bonds": changes})
            self.reactor.callLater(0, self._teach, worker, channel, left)

    def _pass_on(self, changes: dict[str, Any]) -> None:
        """What one worker's sticky tables have learnt, to all."""
        for worker in self.workers:
            channel = worker.channel
            if channel is not None and channel.behind > _BONDS_BEHIND:
                worker.untaught = True
            elif channel is not None:
                channel.send({"do": "bonds", "bonds": changes})

    def _all(self, worker: WorkerProcess) -> dict[str, Any]:
        """Configuration and state."""
        config = self.config
        folder = os.path.dirname(os.path.abspath(config.file))  # noqa: PTH100, PTH120
        self._find_places()
        worker.told = {name: signature(one) for name, one in self.backends.items()}
        worker.placed = self._places
        worker.busy, worker.outdated = True, False
        worker.holds |= self._shared_addresses()
        return {
            "text": dump(config),
            "file": config.file,
            "folder": folder,
            "secret": self._ground.secret.hex(),
            "state": {name: state_of(one) for name, one in self.backends.items()},
            "places": self._places,
            "measure": bool(config.settings.admin) or config.alerts.on,
            "suspect": config.alerts.on,
        }

    def _send_sockets(self, worker: WorkerProcess, channel: Channel) -> None:
        """``channel`` is the worker's; sending may find out that it is lost, and forget it."""
        for listener in self.listeners:
            bound = listener.bound
            if isinstance(bound, SharedBound):
                message = {"do": "socket", "address": attrs.asdict(bound.wanted)}
                channel.send(message, [bound.for_slot(worker.slot).fileno()])

    def _shared_addresses(self) -> set[Address]:
        """Those whose sockets all workers are given."""
        bounds = [listener.bound for listener in self.listeners]
        return {bound.address for bound in bounds if isinstance(bound, SharedBound)}

    def _holds(self, address: Address) -> bool:
        """We or a worker may listen there still."""
        ours = [self._shared_addresses(), *(worker.holds for worker in self.workers)]
        return any(
            one.port == address.port
            and (one.host == address.host or one.host in _ANY or address.host in _ANY)
            for held in ours
            for one in held
        )

    def _heard(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        say = message["say"]
        if say == "counts":
            self._tally.came(worker.slot, message["counts"])
            self._tally.recorded(message["records"])
        elif say == "bonds":
            replication.learn(self.backends, message["bonds"])
            self._pass_on(message["bonds"])
        elif say == "answer":
            self._questions.answered(worker.slot, message["number"], message["answer"])
        elif say == "record":
            frontend = self.frontends.get(message["frontend"])
            for tail in frontend.tails if frontend is not None else ():
                tail(Told(message["line"], message["fine"]))
        elif say == "missed":
            for tail in {tail for one in self.frontends.values() for tail in one.tails}:
                tail(Told("", False, message["records"]))
        elif say == "log":
            level = LogLevel.lookupByName(message["level"])
            _log.emit(level, "worker {slot}: {text}", slot=worker.slot, text=message["text"])
        elif say == "ready":
            worker.busy = False
            if worker.outdated:
                self._send_reload(worker)
            else:
                worker.holds = self._shared_addresses()
            if not worker.ready:
                worker.ready = True
                self._tell(EventKind.WORKER_STARTED, worker, f"worker {worker.slot} serves")
        elif say == "failed":
            _log.error("worker {slot}: {why}", slot=worker.slot, why=message["why"])
            if worker.ready:
                self._bid_stop(worker)  # it serves the old configuration: begin anew

    def _tell(
        self,
        kind: EventKind,
        worker: WorkerProcess,
        text: str,
        severity: Severity = Severity.INFO,
        pid: int = 0,
    ) -> None:
        pid = pid or worker.pid
        _log.info("{text} (pid {pid})", text=text, pid=pid)
        self.events.add(kind, f"worker {worker.slot}", text, severity, pid=pid)

    def _lost(self, worker: WorkerProcess) -> None:
        """Its end of the channel is closed: it has ended, or is about to."""
        worker.channel = None
        self._reap(worker, 0)

    def _reap(self, worker: WorkerProcess, tries: int) -> None:
        process = worker.process
        if process is None:
            return
        status = process.poll()
        if status is None:
            if tries == 100:
                process.kill()
            worker.call = self.reactor.callLater(0.02, self._reap, worker, tries + 1)
            return
        worker.call = None
        if worker.kill is not None:
            worker.kill.cancel()
            worker.kill = None
        try:
            self._forget(worker.slot)
        except Exception:  # it must be started again all the same
            _log.failure("what worker {slot} has left", slot=worker.slot)
        worker.process = None
        worker.holds = set()
        ready, worker.ready = worker.ready, False
        if self.stopping:
            over, worker.over = worker.over, []
            for one in over:
                one.callback(None)
            return
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        text = f"worker {worker.slot} {how}"
        self._tell(EventKind.WORKER_DIED, worker, text, Severity.ERROR, pid=process.pid)
        worker.restarts += 1
        if ready and self.reactor.seconds() - worker.since > _GOOD:
            worker.pause = FIRST_PAUSE
        self._again(worker)

    def _forget(self, slot: int) -> None:
        """The worker in this slot is dead: it holds nothing, and answers no more."""
        self._tally.died(slot)
        self._questions.lost(slot)
        for board in (self._board, self._addresses):
            if board is not None:
                board.clear(slot)

    def _again(self, worker: WorkerProcess) -> None:
        worker.call = self.reactor.callLater(worker.pause, self._start, worker)
        worker.pause = min(worker.pause * 2, _LONGEST_PAUSE)

    def _stop(self, worker: WorkerProcess) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if worker.process is None:
            if worker.call is not None and worker.call.active():
                worker.call.cancel()
            worker.call = None
            done.callback(None)
            return done
        worker.over.append(done)
        self._bid_stop(worker)
        return done

    def _bid_stop(self, worker: WorkerProcess) -> None:
        """Gracefully; it has its time, and no more."""
        if worker.channel is not None:
            worker.channel.send({"do": "stop"})
        if worker.kill is None:
            limit = self.config.settings.timeout_shutdown + _GRACE
            worker.kill = self.reactor.callLater(limit, self._kill, worker)

    @staticmethod
    def _kill(worker: WorkerProcess) -> None:
        worker.kill = None
        if worker.process is not None:
            _log.warn("worker {slot} does not end, killed", slot=worker.slot)
            worker.process.kill()

    # -- what all workers must know -------------------------------------------------------------

    def _find_places(self) -> None:
        """A place on the board for each server that is there; those of servers that are gone are free again."""
        present = {
            place_name(server)
            for backend in self.backends.values()
            for server in backend.group.servers.values()
        }
        if present == self._places.keys():
            return
        places = {name: place for name, place in self._places.items() if name in present}
        taken = set(places.values())
        free = (one for one in range(PLACES) if one not in taken)
        places.update(zip(sorted(present - places.keys()), free, strict=False))
        self._places = places

    def _sync(self) -> None:
        self._sync_call = self.reactor.callLater(SYNC_EVERY, self._sync)
        self._spread(patient=True)
        for worker in self.workers:
            if worker.channel is not None:
                self._look_after(worker, worker.channel)
        self._tally.write()

    def _look_after(self, worker: WorkerProcess, channel: Channel) -> None:
        process = worker.process
        if process is not None and process.poll() is not None:
            channel.close()  # somebody else, a child of its own, holds the other end
            self._lost(worker)
        elif worker.untaught and not channel.behind:
            worker.untaught = False
            self._teach(worker, channel, replication.whole(self.backends))

    def _spread(self, *, patient: bool = False) -> None:
        """Tell the workers what they do not know yet of the servers; ``patient``: not those who are behind."""
        now = {name: signature(one) for name, one in self.backends.items()}
        followed = sorted(name for name, one in self.frontends.items() if one.tails)
        for worker in self.workers:
            channel = worker.channel
            if channel is None or (patient and channel.behind):
                continue
            if worker.tail != followed:
                worker.tail = followed
                channel.send({"do": "tail", "frontends": followed})
            changed = [name for name, sign in now.items() if worker.told.get(name) != sign]
            if changed:
                worker.told = now
                self._find_places()
                state = {name: state_of(self.backends[name]) for name in changed}
                places = None if worker.placed is self._places else self._places
                worker.placed = self._places
                channel.send({"do": "state", "state": state, "places": places})

    def _to_all(self, message: dict[str, Any]) -> None:
        """Say it after what was changed before: who drains a server and ends its sessions gets no new ones there."""
        self._spread()
        for worker in self.workers:
            if worker.channel is not None:
                worker.channel.send(message)

    # -- what is asked of a load balancer -------------------------------------------------------

    def reload(
        self, source: Config | str | Path | None = None, *, dry_run: bool = False
    ) -> ReloadReport:
        """See LoadBalancer: it is tried here first, then every worker takes it over."""
        report = super().reload(source, dry_run=dry_run)
        if report.ok and not dry_run and self.running:
            self._let_leave()
            for worker in self.workers:
                self._send_reload(worker)
        return report

    def _send_reload(self, worker: WorkerProcess) -> None:
        """One at a time: who is slow gets the last of several."""
        channel = worker.channel
        worker.outdated = worker.busy
        if channel is not None and not worker.busy:
            self._send_sockets(worker, channel)
            channel.send({"do": "reload", **self._all(worker)})

    def _let_leave(self) -> None:
        """The workers see to what is leaving; here it is not counted any more."""
        for leaving in self._reloader.leaving:
            owners = [*leaving.frontends, *(server for _, server in leaving.servers)]
            for backend in leaving.backends:
                owners += backend.group.servers.values()
            for owner in owners:
                there = getattr(owner, "clients", None) or getattr(owner, "sessions", None)
                if isinstance(there, Elsewhere):
                    there.count = 0

    def hand_over(self) -> None:
        """See LoadBalancer: the workers too."""
        super().hand_over()
        self._to_all({"do": "hand_over"})

    def kill_sessions(self, backend: str, name: str) -> int:
        """See LoadBalancer."""
        count = len(self.backends[backend].group.servers[name].sessions)
        self._to_all({"do": "kill", "backend": backend, "server": name})
        return count

    def rebalance(self, backend: str) -> Rebalance:
        """See LoadBalancer.  Each worker balances its own sessions; the answer is about all of them together."""
        plan = super().rebalance(backend)
        self._to_all({"do": "rebalance", "backend": backend})
        return plan

    def operate(
        self, owner: str, name: str, feature: str, operation: str, arguments: dict[str, Any]
    ) -> Any:
        """See LoadBalancer.  An operation of all processes runs in the workers too."""
        answer = super().operate(owner, name, feature, operation, arguments)
        if self._owners(owner)[name].features[feature].operation(operation).everywhere:
            what = {"owner": owner, "name": name, "feature": feature, "operation": operation}
            self._to_all({"do": "operate", "what": {**what, "arguments": arguments}})
        return answer

    def all_sessions(
        self,
        backend: str = "",
        name: str = "",
        *,
        frontend: str = "",
        client: str = "",
        limit: int = 1000,
    ) -> Deferred[list[SessionView]]:
        """See LoadBalancer.  A worker that does not answer in time is left out."""
        of: SessionQuery = {
            "backend": backend,
            "name": name,
            "frontend": frontend,
            "client": client,
            "limit": limit,
        }
        asked = self._questions.ask(self._channels(), {"do": "sessions", "of": of})

        def together(answers: dict[int, Any]) -> list[SessionView]:
            found = [
                SessionView(**{**one, "id": f"{slot}.{one['id']}"})
                for slot, sessions in sorted(answers.items())
                for one in sessions
            ]
            return sorted(found, key=lambda one: (one.backend, one.server, -one.age_s))[:limit]

        return asked.addCallback(together)

    def end_session(self, id: str) -> Deferred[bool]:
        """See LoadBalancer."""
        slot, _, inner = id.partition(".")
        channels = {n: one for n, one in self._channels().items() if str(n) == slot}
        asked = self._questions.ask(channels, {"do": "end_session", "id": inner})
        return asked.addCallback(lambda answers: any(answers.values()))

    def _channels(self) -> dict[int, Channel]:
        return {one.slot: one.channel for one in self.workers if one.channel is not None}

    def clear_sticky(self, backend: str, name: str = "") -> int:
        """See LoadBalancer."""
        gone = super().clear_sticky(backend, name)
        self._to_all({"do": "clear_sticky", "backend": backend, "server": name})
        return gone

    def reopen_logs(self) -> None:
        """See LoadBalancer."""
        super().reopen_logs()
        self._to_all({"do": "reopen"})

    @property
    def pids(self) -> Iterable[int]:
        """Of the workers that are there."""
        return [worker.pid for worker in self.workers if worker.pid]
