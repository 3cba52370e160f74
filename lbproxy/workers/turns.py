"""CONTROL. The periodic work of a worker, and the state that it shares with other workers.

Several times a second a worker publishes its leases and reads those of the others. Once a second it
reports its counters to the master.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lbproxy.admin.lag import Lag
from lbproxy.observe.offenders import Offenders
from lbproxy.process.replication import StickyReplication
from lbproxy.registry import parse_server_line
from lbproxy.service import LoadBalancer
from lbproxy.workers.aggregate import report_of
from lbproxy.workers.channel import Channel
from lbproxy.workers.records import Records
from lbproxy.workers.serverstate import apply
from lbproxy.workers.shared import EVERY, BoardShared

__all__ = ["WorkerTurns"]

_REPORT_EVERY = 1.0  # seconds between two reports, which also show that the worker is responsive
_HALF_MINUTE = 30.0
_MANY = 500  # number of servers above which the board is read less often


class WorkerTurns:
    """The periodic work; see the module. ``balancer`` and ``shared``: None before the worker has
    started.
    """

    channel: Channel
    _records: Records
    _sticky: StickyReplication

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.balancer: LoadBalancer | None = None
        self.shared: BoardShared | None = None
        self._lag = Lag(reactor)
        self._places: dict[str, int] = {}
        self._calls: list[Any] = []

    def _start_turns(self) -> None:
        """Start the periodic work."""
        self._lag.start()
        self._look()
        self._count()
        self._later(_HALF_MINUTE, self._turn)

    def _stop_turns(self) -> None:
        self._lag.stop()
        for call in self._calls:
            if call.active():
                call.cancel()

    # -- what is shared -------------------------------------------------------------------------

    def _join(self) -> None:
        """Connect limits, queues and sticky tables to those of the other workers."""
        balancer, shared = self.balancer, self.shared
        assert balancer is not None and shared is not None
        for name, frontend in balancer.frontends.items():
            if frontend.spec.maxconn_per_ip and not frontend.limits.joined:
                frontend.limits.join(shared.peers(name))
        for name, backend in balancer.backends.items():
            backend.join(shared.claims(), shared.turn(name))
        self._sticky.attach()
        self._records.attach(balancer.frontends)

    def _measure(self, message: dict[str, Any]) -> None:
        """Measure times and count offenders if the admin API or an alert reads them."""
        balancer = self.balancer
        assert balancer is not None
        for frontend in balancer.frontends.values():
            if not message["offenders"]:
                frontend.offenders = None
            elif frontend.offenders is None:
                frontend.offenders = Offenders()
        if message["measure"]:
            for frontend in balancer.frontends.values():
                frontend.counters.measure()
            for backend in balancer.backends.values():
                backend.counters.measure()

    def _sync(self, message: dict[str, Any]) -> None:
        """Update the servers of the backends in ``message`` to the master's state."""
        balancer = self.balancer
        assert balancer is not None
        if message["places"] is not None:
            self._places.clear()  # the place of a removed server may belong to another one now
            self._places.update(message["places"])
        parse = partial(parse_server_line, config=balancer.config)
        for name, servers in message["state"].items():
            backend = balancer.backends.get(name)
            if backend is not None:
                apply(backend, servers, parse)
                balancer.generation.sync(name)

    # -- in turns -------------------------------------------------------------------------------

    def _look(self) -> None:
        """Publish the leases of this worker, and read those of the others."""
        self._later(EVERY * max(1.0, len(self._places) / _MANY), self._look)
        balancer, shared = self.balancer, self.shared
        assert balancer is not None and shared is not None
        shared.exchange([backend.group for backend in balancer.backends.values()])
        for backend in balancer.backends.values():
            backend.queue.publish()
            backend.serve_queue()
        self._sticky.publish()

    def _woken(self) -> None:
        """Serve a waiter of ours, because another worker has made room."""
        if self.balancer is None or self.shared is None:
            return
        waiting = [one for one in self.balancer.backends.values() if len(one.queue)]
        self.shared.exchange([backend.group for backend in waiting])
        for backend in waiting:
            backend.serve_queue()

    def _count(self) -> None:
        self._later(_REPORT_EVERY, self._count)
        if not self.channel.behind:
            self._report()
            self._records.turn()

    def _report(self) -> None:
        if self.balancer is not None:
            self.balancer.worker_lag = self._lag.last
            self.balancer.worker_lag_max = self._lag.worst
            self.channel.send({"type": "report", "report": report_of(self.balancer)})

    def _turn(self) -> None:
        self._later(_HALF_MINUTE, self._turn)
        if self.balancer is not None:
            for frontend in self.balancer.frontends.values():
                if frontend.offenders is not None:
                    frontend.offenders.turn()

    def _later(self, pause: float, call: Callable[[], None]) -> None:
        self._calls = [one for one in self._calls if one.active()]
        self._calls.append(self.reactor.callLater(pause, call))
