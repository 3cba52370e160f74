"""CONTROL. Reloads requested by the API. Requests in close succession share one reload."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

__all__ = ["Reloads"]

_REST = 10.0  # pause between reloads, as a multiple of the last one's duration
_LONGEST = 2.0  # maximum pause in seconds


class Reloads:
    """Runs reloads. ``balancer``: the :class:`lbproxy.service.LoadBalancer`. ``reactor``:
    IReactorTime.
    """

    def __init__(self, balancer: Any, reactor: Any) -> None:
        self._balancer = balancer
        self._reactor = reactor
        self._waiting: dict[bool, list[Deferred[Any]]] = {}  # waiting reloads by ``dry_run``
        self._not_before = 0.0
        self._call: Any = None

    def reload(self, *, dry_run: bool) -> Deferred[Any]:
        """Read the configuration again, now or soon. The Deferred fires with the report.

        Requests that arrive while one waits get the same report. The reload reads the file after
        all of them.
        """
        done: Deferred[Any] = Deferred()
        self._waiting.setdefault(dry_run, []).append(done)
        wait = self._not_before - self._reactor.seconds()
        if self._call is None and wait <= 0:
            self._run()
        elif self._call is None:
            self._call = self._reactor.callLater(min(wait, _LONGEST), self._run)
        return done

    def stop(self) -> None:
        """Stop reloading. Waiting requests get no answer."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        self._waiting.clear()

    def _run(self) -> None:
        self._call = None
        waiting, self._waiting = self._waiting, {}
        start = self._reactor.seconds()
        reports = [(self._balancer.reload(dry_run=dry), some) for dry, some in waiting.items()]
        end = self._reactor.seconds()
        self._not_before = end + (end - start) * _REST
        for report, some in reports:
            for done in some:
                if not done.called:  # its client has disconnected
                    done.callback(report)
