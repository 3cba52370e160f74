"""DATA. The counters and the access log of a frontend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.filter import Hook
from lbproxy.net.timers import TimerWheel
from lbproxy.observe.metrics import FrontendCounters, observe_exchange, observe_session
from lbproxy.observe.offenders import Offenders
from lbproxy.observe.record import HTTPRecord, Record
from lbproxy.observe.refusal import refused_connection
from lbproxy.proxy.guarding import guard
from lbproxy.proxy.info import ConnectionInfo
from lbproxy.proxy.ratelog import Quiet
from lbproxy.proxy.roles import RefusalLog

__all__ = ["Accounting"]

_quiet: Final = Quiet(Logger(__name__))
_OK: Final = Kind.OK  # cached lookup
_CHALLENGED: Final = Kind.CHALLENGED


class Accounting:
    """Counts and logs the traffic of a frontend.

    ``offenders``: clients that are refused or get 4xx; None if they are not counted. ``refusals``:
    set by a feature. ``write_log`` is called with finished exchanges and sessions; None without an
    access log. ``followers`` are called with the same, for the admin API.
    """

    def __init__(
        self,
        name: str,
        mode: str,
        wheel: TimerWheel,
        counters: FrontendCounters,
        write_log: Callable[[Any], None] | None,
        offenders: Offenders | None,
    ) -> None:
        self.name = name
        self.mode = mode
        self.wheel = wheel
        self.now: Callable[[], float] = wheel.now
        self.counters = counters
        self.write_log = write_log
        self.followers: tuple[Callable[[Any], None], ...] = ()
        self.offenders = offenders
        self.refusals: RefusalLog | None = None
        # called for connections that end before their first request
        self.turned_away: tuple[Callable[[ConnectionInfo, ProxyError], None], ...] = ()

    def refused(self, info: ConnectionInfo, error: ProxyError) -> None:
        """Count, log and report a connection that ended before it carried traffic.

        In http mode, a client that leaves without a request gets no record.
        """
        self.counters.refused += 1
        if self.offenders is not None:
            self.offenders.add(info.client_ip)
        self.count_close(error.kind)
        for hear in self.turned_away:
            guard(hear, info, error)
        if error.kind is not Kind.CLIENT_GONE:
            _quiet.warn(
                f"{self.name} {error.kind.value}",
                "frontend {name}: connection from {ip} refused: {kind}: {detail}",
                name=self.name,
                ip=info.client_ip or "unix socket",
                kind=error.kind.value,
                detail=error.detail,
            )
        elif self.mode == "http":
            return
        if self.write_log is not None or self.followers:
            start = info.connected
            seconds = max(0.0, self.now() - start)
            unix = start + self.wheel.epoch
            name = self.name
            self._log(refused_connection(self.mode, name, info, error, unix, seconds, self))

    def exchange_over(self, exchange: HTTPRecord) -> None:
        """Count and log one HTTP exchange.

        It does not raise, because the client connection continues.
        """
        exchange.started += self.wheel.epoch
        counters = self.counters
        counters.responses[exchange.status // 100 if exchange.status < 600 else 0] += 1
        counters.bytes_in += exchange.bytes_in
        counters.bytes_out += exchange.bytes_out
        closes = counters.closes
        kind = exchange.close
        if self.offenders is not None and 400 <= exchange.status < 500 and kind is not _CHALLENGED:
            self.offenders.add(exchange.client_ip)
        closes[kind] = closes.get(kind, 0) + 1
        if kind is not _OK and self.refusals is not None:
            self.refusals.add(exchange)
        if counters.request_seconds is not None:
            observe_exchange(counters.request_seconds, exchange)
        try:
            if self.write_log is not None:
                self.write_log(exchange)
            if self.followers:
                for follower in self.followers:
                    follower(exchange)
        except BaseException:
            self._log_failed()

    def session_over(self, session: Record) -> None:
        """Count and log one TCP session.

        It does not raise, because both connections must be closed.
        """
        session.started += self.wheel.epoch
        self.counters.bytes_in += session.bytes_in
        self.counters.bytes_out += session.bytes_out
        self.count_close(session.close)
        if session.close is not _OK and self.refusals is not None:
            self.refusals.add_session(session)
        if self.counters.request_seconds is not None:
            observe_session(self.counters.request_seconds, session)
        self._log(session)

    def _log(self, record: Record) -> None:
        try:
            if self.write_log is not None:
                self.write_log(record)
            for follower in self.followers:
                follower(record)
        except BaseException:
            self._log_failed()

    def _log_failed(self) -> None:
        self.counters.log_errors += 1
        _quiet.failure(
            f"{self.name} log", "the access log of {name} failed", Failure(), name=self.name
        )

    def count_close(self, kind: Kind) -> None:
        """Count a close reason."""
        closes = self.counters.closes
        closes[kind] = closes.get(kind, 0) + 1

    def run_finish(self, hook: Hook, traffic: Any) -> None:
        """Run a filter of phase ``finish``. An exception is only logged."""
        try:
            hook(traffic)
        except BaseException:
            _quiet.failure(
                f"{self.name} finish",
                "a filter of {name} failed in finish",
                Failure(),
                name=self.name,
            )
