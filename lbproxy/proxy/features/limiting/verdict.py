"""DATA. The decision of the feature ``limits`` about one request, session or connection.

All limits are checked before any is charged. A request that one of them refuses is not charged to
any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.net.timers import TimerWheel
from lbproxy.proxy.features.conduct import is_error
from lbproxy.proxy.features.holding import HELD, hold
from lbproxy.proxy.features.limiting.limit import Limit, LimitCheck
from lbproxy.proxy.features.limiting.note import LimitCounters, LimitNote
from lbproxy.proxy.features.limiting.tally import LimitTally
from lbproxy.proxy.ratelog import Quiet

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["PATIENCE", "LimitVerdicts"]

_quiet = Quiet(Logger())

PATIENCE = 3600.0
"""Maximum wait of a request in seconds. One that would have to wait longer is refused."""


class LimitVerdicts:
    """See the module.  ``tallies``: the effects of each limit, by its name."""

    counters: LimitCounters
    patience = PATIENCE

    def __init__(self, wheel: TimerWheel, names: Sequence[str]) -> None:
        self.tallies = {name: LimitTally() for name in names}
        self._wheel = wheel
        self._now: Callable[[], float] = wheel.now
        self._owner: Frontend

    def _ask(self, limit: Limit, traffic: Any) -> Sequence[LimitCheck]:
        """Check one limit for each key. Return no checks if it does not apply to them, or cannot be
        checked.
        """
        try:
            keys = limit.key.all_of(traffic)
            if limit.spec.empty == "pass":
                keys = [key for key in keys if key]
            now = self._now()
            return [limit.ask(key, now) for key in keys]
        except ProxyError:
            raise
        except BaseException:
            name = f"limit {limit.name}"
            _quiet.failure(name, "{name} cannot be asked", Failure(), name=name)
            if limit.spec.on_error == "closed":
                raise ProxyError(Kind.RATE_LIMITED, f"{name} cannot be asked", 503) from None
            return ()

    def _decide(self, note: LimitNote) -> Any:
        """Return None to pass, an error to refuse with, or a Deferred to wait for."""
        if len(note.asked) == 1 and not note.asked[0].wait and note.asked[0].at_once is None:
            return self._let_pass(note.asked[0])
        worst, slow, passing = self._judge(note)
        if worst is not None:
            return self._refuse(note, worst)
        error = self._pass(note, passing)
        return error if error is not None or not slow else self._delay(slow)

    def _let_pass(self, one: LimitCheck) -> None:
        """Charge the only limit, which has room. This is the usual case."""
        limit = one.limit
        self.tallies[limit.name].asked += 1
        if limit.cost:
            limit.charge(one, limit.cost, self._now())

    def _judge(
        self, note: LimitNote
    ) -> tuple[LimitCheck | None, list[LimitCheck], Sequence[LimitCheck]]:
        """Return the limit that refuses, those that delay, and those to charge if none refuses."""
        for one in note.asked:
            self.tallies[one.limit.name].asked += 1
        beyond = [one for one in note.asked if one.wait > 0]
        worst: LimitCheck | None = None
        slow: list[LimitCheck] = []
        if not beyond:
            return worst, slow, note.asked
        for one in beyond:
            kind = one.limit.spec.action.kind
            if kind == "log":
                self._logged(one)
            elif kind == "delay" and one.wait <= PATIENCE and one.limit.has_queue(one.key):
                slow.append(one)
            elif worst is None or one.wait > worst.wait:
                worst = one
        passing = [one for one in note.asked if not one.wait or one.limit.spec.action.kind != "log"]
        return worst, slow, passing

    def _pass(self, note: LimitNote, charged: Sequence[LimitCheck]) -> ProxyError | None:
        """Charge all of ``charged``."""
        now = self._now()
        for one in charged:
            if one.at_once is None:
                continue
            if not one.at_once.take(one.key):  # another process was faster
                one.wait = 1.0
                self._give_back(note)
                return self._refused(note, one)
            note.held.append(one)
        for one in charged:
            if one.method is not None and one.limit.cost:
                one.limit.charge(one, one.limit.cost, now)
        return None

    def _refuse(self, note: LimitNote, one: LimitCheck) -> Any:
        error = self._refused(note, one)
        action, limit = one.limit.spec.action, one.limit
        if action.kind != "tarpit" or limit.held >= HELD:
            return error
        limit.held += 1

        def over() -> None:
            limit.held -= 1

        return hold(self._wheel, action.seconds, over, error)

    def _refused(self, note: LimitNote, one: LimitCheck) -> ProxyError:
        note.refused = one
        limit = one.limit
        self.counters.limit_refused += 1
        self.tallies[limit.name].refused += 1
        limit.note_refused(one.key)
        shown = limit.key.shown(one.key)
        _quiet.warn(
            f"{self._owner.name} limit {limit.name}",
            "frontend {name}: limit {limit} refuses {key}",
            name=self._owner.name,
            limit=limit.name,
            key=shown,
        )
        detail = f"limit {limit.name}, key {shown}"
        judge = self._owner.ban_judge
        if limit.spec.action.kind == "ban" and judge is not None:
            judge.ban(limit.spec.action.ban, note.client_ip, detail, note.request())
        return ProxyError(Kind.RATE_LIMITED, detail)

    def _delay(self, slow: Sequence[LimitCheck]) -> Deferred[None]:
        """Wait for the slowest limit, in the queues of all."""
        self.counters.limit_delayed += 1
        for one in slow:
            self.tallies[one.limit.name].delayed += 1
            one.limit.wait(one.key, 1)

        def over() -> None:
            for one in slow:
                one.limit.wait(one.key, -1)

        seconds = min(max(one.wait for one in slow), PATIENCE)
        return hold(self._wheel, seconds, over, None)

    def _logged(self, one: LimitCheck) -> None:
        self.counters.limit_logged += 1
        self.tallies[one.limit.name].logged += 1
        _quiet.warn(
            f"{self._owner.name} limit {one.limit.name} log",
            "frontend {name}: {key} is beyond limit {limit}, which only logs",
            name=self._owner.name,
            limit=one.limit.name,
            key=one.limit.key.shown(one.key),
        )

    def _give_back(self, note: LimitNote) -> None:
        held, note.held = note.held, []
        for one in held:
            if one.at_once is not None:
                one.at_once.give_back(one.key)

    def _charge_bad_head(self, traffic: Any, limits: Sequence[Limit]) -> None:
        """Charge the response to something that is no request: an error of its address.

        Only to limits of errors whose key needs no request; not to trusted proxies, whose client is
        unknown.
        """
        if not is_error(traffic) or not self._owner.is_direct(traffic.client_ip):
            return
        now = self._now()
        for limit in limits:
            if limit.spec.unit == "errors" and limit.key.variables <= {"client_ip", "frontend"}:
                for one in self._ask(limit, traffic):
                    if one.method is not None:
                        limit.charge(one, 1.0, now)
