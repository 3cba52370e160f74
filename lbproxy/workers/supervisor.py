"""CONTROL. The life of worker processes: start, supervision, restart and stop.

1. A worker that ends is started again, after a pause that doubles each time, up to
   :data:`LONGEST_PAUSE`.
2. A worker that has to stop gets ``timeout_shutdown`` and a grace period, then it is killed.
3. Every worker reports once a second.  One that has not for ``worker_timeout`` hangs: its stack is
   logged, and it is killed.  A worker that starts or takes a configuration has :data:`STARTING`
   more.
"""

from __future__ import annotations

import signal
from subprocess import Popen
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from lbproxy.observe.events import EventKind, EventSeverity
from lbproxy.workers.channel import Channel
from lbproxy.workers.process import FIRST_PAUSE, WorkerProcess

__all__ = ["STACK_SIGNAL", "SupervisedMaster", "Supervisor"]

_log = Logger()

LONGEST_PAUSE = 5.0
"""Maximum pause in seconds before a worker that ended is started again."""

STARTING = 60.0
"""Seconds added to ``worker_timeout`` for a start or a reload, which may load a large configuration
in one turn.
"""

STACK_SIGNAL = signal.SIGUSR2
"""The signal that makes a worker write its stack (:mod:`faulthandler`) at any time."""

_GOOD = 10.0  # seconds after which a worker counts as healthy
_GRACE = 5.0  # grace period after timeout_shutdown
_REAP = 0.02  # seconds between two checks whether a process has ended
_KILL_AFTER = 100  # number of checks
_STACK_TIME = 0.3  # seconds to write the stack
_LATE = 1.0  # maximum delay of the master itself, in seconds, at which it still judges workers


class SupervisedMaster(Protocol):
    """The methods of the master that the supervisor calls."""

    stopping: bool

    def begin(self, worker: WorkerProcess, channel: Channel) -> None:
        """Send everything that a started process needs."""

    def received(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        """Handle a message of a worker."""

    def ended(self, worker: WorkerProcess) -> None:
        """Handle the end of a process: release its resources and pending answers."""

    def report(
        self, kind: EventKind, worker: WorkerProcess, text: str, severity: EventSeverity, pid: int
    ) -> None:
        """Log a report and add it to the events."""

    def limits(self) -> tuple[float, float]:
        """Return ``timeout_shutdown`` and ``worker_timeout`` in seconds."""


class Supervisor:
    """Supervises workers. ``workers``: by slot."""

    def __init__(self, reactor: Any, count: int, owner: SupervisedMaster) -> None:
        self.workers = [WorkerProcess(slot) for slot in range(count)]
        self._reactor = reactor
        self._owner = owner
        self._watched = 0.0  # time of the last check

    def start(self) -> None:
        """Start all workers."""
        self._watched = self._reactor.seconds()
        for worker in self.workers:
            self._start(worker)

    def stop(self) -> list[Deferred[None]]:
        """Stop all workers gracefully. Each Deferred fires when a worker has ended."""
        return [self._stop(worker) for worker in self.workers]

    @property
    def turning(self) -> bool:
        """True if no worker hangs."""
        now = self._reactor.seconds()
        return not any(self._overdue(worker, now) > _LATE for worker in self.workers)

    # -- one worker -----------------------------------------------------------------------------

    def _start(self, worker: WorkerProcess) -> None:
        worker.call = None
        try:
            sock = worker.spawn()
        except OSError as error:
            _log.error("worker {slot} cannot be started: {error}", slot=worker.slot, error=error)
            self._again(worker)
            return
        worker.since = worker.heard = self._reactor.seconds()
        worker.ready = worker.hung = False
        worker.channel = channel = Channel(
            self._reactor,
            sock,
            lambda message, _: self._received(worker, message),
            lambda: self._lost(worker),
        )
        self._owner.begin(worker, channel)

    def _received(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        worker.heard = self._reactor.seconds()
        self._owner.received(worker, message)

    def _lost(self, worker: WorkerProcess) -> None:
        """Handle a worker that has closed its end of the channel: it has ended, or is about to."""
        worker.channel = None
        self._reap(worker, 0)

    def _reap(self, worker: WorkerProcess, looks: int) -> None:
        process = worker.process
        if process is None:
            return
        status = process.poll()
        if status is None:
            if looks == _KILL_AFTER:
                process.kill()
            worker.call = self._reactor.callLater(_REAP, self._reap, worker, looks + 1)
            return
        worker.call = None
        if worker.kill is not None:
            worker.kill.cancel()
            worker.kill = None
        try:
            self._owner.ended(worker)
        except Exception:  # it must be restarted in any case
            _log.failure("worker {slot} has ended", slot=worker.slot)
        ready = worker.ready
        worker.forget()
        if self._owner.stopping:
            waiting, worker.ended = worker.ended, []
            for one in waiting:
                one.callback(None)
            return
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        text = f"worker {worker.slot} {how}"
        self._owner.report(EventKind.WORKER_DIED, worker, text, EventSeverity.ERROR, process.pid)
        worker.restarts += 1
        if ready and self._reactor.seconds() - worker.since > _GOOD:
            worker.pause = FIRST_PAUSE
        self._again(worker)

    def _again(self, worker: WorkerProcess) -> None:
        worker.call = self._reactor.callLater(worker.pause, self._start, worker)
        worker.pause = min(worker.pause * 2, LONGEST_PAUSE)

    def _stop(self, worker: WorkerProcess) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if worker.process is None:
            if worker.call is not None and worker.call.active():
                worker.call.cancel()
            worker.call = None
            done.callback(None)
            return done
        worker.ended.append(done)
        self.bid_stop(worker)
        return done

    def bid_stop(self, worker: WorkerProcess) -> None:
        """Ask a worker to stop, and kill it if it does not stop in time."""
        if worker.channel is not None:
            worker.channel.send({"type": "stop"})
        if worker.kill is None:
            limit = self._owner.limits()[0] + _GRACE
            worker.kill = self._reactor.callLater(limit, self._kill, worker)

    @staticmethod
    def _kill(worker: WorkerProcess) -> None:
        worker.kill = None
        if worker.process is not None:
            _log.warn("worker {slot} does not end; killed", slot=worker.slot)
            worker.process.kill()

    # -- workers that hang ----------------------------------------------------------------------

    def watch(self) -> None:
        """Replace workers that hang or have ended unnoticed. Called a few times a second."""
        now = self._reactor.seconds()
        late, self._watched = now - self._watched, now
        for worker in self.workers:
            channel, process = worker.channel, worker.process
            if channel is None or process is None:
                continue
            if process.poll() is not None:
                channel.close()  # a child process of the worker still holds the other end
                self._lost(worker)
            elif late > _LATE:
                worker.heard = max(worker.heard, now - _LATE)  # its messages are waiting to be read
            elif self._overdue(worker, now) > 0 and not worker.hung:
                self._hangs(worker, now)

    def _overdue(self, worker: WorkerProcess, now: float) -> float:
        """Return the seconds since its report was due; negative before that."""
        if worker.channel is None:
            return -1.0
        limit = self._owner.limits()[1]
        if worker.busy or not worker.ready:
            limit += STARTING
        return now - worker.heard - limit

    def _hangs(self, worker: WorkerProcess, now: float) -> None:
        worker.hung = True
        _log.error(
            "worker {slot} (pid {pid}) has not responded for {seconds:.0f} s; replacing it",
            slot=worker.slot,
            pid=worker.pid,
            seconds=now - worker.heard,
        )
        if worker.process is not None:
            worker.process.send_signal(STACK_SIGNAL)
        self._reactor.callLater(_STACK_TIME, self._end_hung, worker, worker.process)

    def _end_hung(self, worker: WorkerProcess, process: Popen[bytes] | None) -> None:
        if process is None or worker.process is not process:
            return
        stack = worker.stack() or "it could not write its stack"
        _log.error("stack of worker {slot}: {stack}", slot=worker.slot, stack=stack)
        process.kill()
