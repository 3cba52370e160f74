"""DATA. The processes of a firewall, and the requests that wait for them.

Rules:

1. A process has one question at a time. Up to ``queue`` further questions wait in order.
2. A question expires after ``deadline`` seconds, including waiting. Until the rules are loaded for
   the first time, the limit is :data:`LOADING_S`.
3. A process that is busy for :data:`HUNG_S` seconds longer than ``deadline`` is killed, and so is a
   process that has not loaded the rules after :data:`LOAD_S`.
4. A process that ends is started again, after a pause that doubles each time, up to
   :data:`LONGEST_PAUSE`.
5. If rule files change, one new process loads them. If that succeeds, new processes replace all old
   ones, each after its current answer. Otherwise the old ones continue.
6. The processes run while the pool has users.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from attrs import define
from twisted.logger import Logger

from lbproxy.net.timers import Timer, TimerWheel
from lbproxy.proxy.features.waf.modsecurity.ask import Ask
from lbproxy.proxy.features.waf.modsecurity.child import JudgeProcess, JudgeState
from lbproxy.proxy.features.waf.modsecurity.files import Stamp
from lbproxy.proxy.features.waf.modsecurity.loadout import Loadout, RuleSource
from lbproxy.proxy.features.waf.modsecurity.messages import Question, RuleAnswer

__all__ = ["JudgePool"]

HUNG_S: Final = 2.0
LOADING_S: Final = 10.0
LOAD_S: Final = 30.0
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
LOOK_S: Final = 5.0
"""Seconds between checks of the files."""

_log: Final = Logger(__name__)


@define(eq=False)
class _Seat:
    """The slot of one process. ``ask``: its current question. ``hung``: its time limit."""

    child: JudgeProcess
    hung: Timer
    ask: Ask | None = None
    retired: bool = False


class JudgePool:
    """See the module.

    ``loadout``: the rules from ``source``, accepted by :func:`check_rules`. ``refused``: the stamp
    of changed files that were rejected.
    """

    def __init__(
        self, source: RuleSource, loadout: Loadout, reactor: Any, wheel: TimerWheel
    ) -> None:
        self.restarts = 0
        self._source = source
        self._spec = source.spec
        self._loadout = loadout
        self._users: set[Any] = set()
        self._reactor = reactor
        self._wheel = wheel
        self._seats: dict[JudgeProcess, _Seat] = {}
        self._trial: tuple[JudgeProcess, Loadout] | None = None
        self._trial_timer = wheel.timer(self._trial_hangs)
        self._waiting: deque[Ask] = deque()
        self._dropped = 0  # questions whose request has ended, since the queue was last cleaned
        self.refused: Stamp | None = None
        self._running = self._ready = False
        self._pause = FIRST_PAUSE
        self._starts: set[Any] = set()  # delayed calls
        self._look_timer = wheel.timer(self._look)

    # -- life -----------------------------------------------------------------------------------

    def enter(self, user: Any) -> None:
        """Run for ``user`` until it leaves."""
        self._users.add(user)
        if self._running:
            return
        self._running = True
        self._fill()
        self._look_timer.set(LOOK_S)

    def leave(self, user: Any, *, now: bool = False) -> None:
        """Remove ``user``, and end the processes if it was the last one.

        Unless ``now`` is set, they end in a later turn, so that a reload that hands the pool to
        another user keeps them.
        """
        self._users.discard(user)
        if now:
            self._stop_unused()
        elif self._running and not self._users:
            self._reactor.callLater(0, self._stop_unused)

    def _stop_unused(self) -> None:
        if self._running and not self._users:
            self.stop()

    def stop(self) -> None:
        """End all processes. Pending questions get no answer."""
        self._running = self._ready = False
        self._look_timer.clear()
        for call in self._starts:
            call.cancel()
        self._starts.clear()
        self._end_trial()
        seats, asks = list(self._seats.values()), list(self._waiting)
        self._seats.clear()
        self._waiting.clear()
        for seat in seats:
            seat.hung.close()
            seat.child.close()
        for ask in (*(seat.ask for seat in seats if seat.ask is not None), *asks):
            ask.finish(None, "the firewall has stopped")

    @property
    def pids(self) -> list[int]:
        """The process ids of the judges."""
        return [child.pid for child in self._seats]

    @property
    def ready(self) -> int:
        """Number of processes that have loaded the rules."""
        return sum(child.state is not JudgeState.LOADING for child in self._seats)

    @property
    def waiting(self) -> int:
        """Number of questions in the queue."""
        return sum(one.done is not None for one in self._waiting)

    # -- questions ------------------------------------------------------------------------------

    def ask(self, question: Question, done: Callable[[RuleAnswer | None, str], None]) -> Ask | None:
        """Queue ``question``. ``done`` gets the answer in a later turn, or None and the reason.

        Return None if the queue is full; ``done`` is not called then.
        """
        if self._dropped and len(self._waiting) >= self._spec.queue:
            self._dropped = 0
            self._waiting = deque(one for one in self._waiting if one.done is not None)
        if not self._running or len(self._waiting) >= self._spec.queue:
            return None
        ask = Ask(question, done, self._drop)
        ask.timer = self._wheel.timer(partial(self._late, ask))
        ask.timer.set(self._spec.deadline if self._ready else LOADING_S)
        self._waiting.append(ask)
        self._serve()
        return ask

    def _drop(self) -> None:
        self._dropped += 1

    def _serve(self) -> None:
        """Send waiting questions to idle processes."""
        for seat in list(self._seats.values()) if self._waiting else ():
            if seat.child.state is JudgeState.IDLE:
                ask = self._next()
                if ask is None:
                    return
                seat.ask = ask
                seat.hung.set(self._spec.deadline + HUNG_S)
                seat.child.ask(ask.question.fields())

    def _next(self) -> Ask | None:
        while self._waiting:
            ask = self._waiting.popleft()
            if ask.done is not None:
                return ask
        return None

    def _late(self, ask: Ask) -> None:
        if ask in self._waiting:
            self._waiting.remove(ask)
        ask.finish(None, f"no verdict within {self._spec.deadline:g} s")

    # -- processes ------------------------------------------------------------------------------

    def _spawn(self, loadout: Loadout) -> JudgeProcess | None:
        try:
            return JudgeProcess(self._reactor, self, loadout.parts, loadout.body_limit)
        except OSError as error:
            _log.error(
                "waf {name}: cannot start a process: {error}", name=self._spec.name, error=error
            )
            return None

    def _seat(self, child: JudgeProcess) -> None:
        seat = self._seats[child] = _Seat(child, self._wheel.timer(partial(self._hangs, child)))
        if child.state is JudgeState.LOADING:
            seat.hung.set(LOAD_S)

    def _start_later(self) -> None:
        self.restarts += 1

        def start() -> None:
            self._starts.discard(call)
            self._fill()

        call = self._reactor.callLater(self._pause, start)
        self._starts.add(call)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def _hangs(self, child: JudgeProcess) -> None:
        _log.error(
            "waf {name}: process {pid} hangs and is killed", name=self._spec.name, pid=child.pid
        )
        child.kill()

    def loaded(self, child: JudgeProcess, problem: str) -> None:
        """See JudgeOwner."""
        if self._trial is not None and self._trial[0] is child:
            self._tried(problem)
            return
        if problem:
            name = self._spec.name
            _log.error("waf {name}: cannot load the rules: {why}", name=name, why=problem)
            child.kill()
            return
        self._seats[child].hung.clear()
        self._ready = True
        self._serve()

    def answered(self, child: JudgeProcess, answer: RuleAnswer) -> None:
        """See JudgeOwner."""
        seat = self._seats[child]
        ask, seat.ask = seat.ask, None
        seat.hung.clear()
        self._pause = FIRST_PAUSE
        if seat.retired:
            self._end_seat(seat)
            self._fill()
        self._serve()
        if ask is not None:
            ask.finish(answer)

    def ended(self, child: JudgeProcess) -> None:
        """See JudgeOwner."""
        if self._trial is not None and self._trial[0] is child:
            self._tried("the process that loads them has ended")
            return
        seat = self._seats.pop(child, None)
        if seat is None:
            return
        seat.hung.close()
        name, code = self._spec.name, child.process.poll()
        _log.error(
            "waf {name}: process {pid} ended ({code}); restarting in {pause:g} s",
            name=name, pid=child.pid, code=code, pause=self._pause,
        )  # fmt: skip
        self._start_later()
        if seat.ask is not None:
            seat.ask.finish(None, "the process that judged it has ended")

    # -- changed files --------------------------------------------------------------------------

    def _look(self) -> None:
        self._look_timer.set(LOOK_S)
        if self._trial is not None:
            return
        try:
            if self._source.stamp() in (self._loadout.stamp, self.refused):
                return
            found = self._source.loadout()
        except (OSError, ValueError) as error:
            self._refuse((), str(error))
        else:
            child = self._spawn(found)
            if child is not None:
                self._trial = (child, found)
                self._trial_timer.set(LOAD_S)

    def _trial_hangs(self) -> None:
        self._tried(f"loading them takes more than {LOAD_S:g} s")

    def _refuse(self, stamp: Stamp, why: str) -> None:
        """Log, once per version of the files, that the version is rejected."""
        if self.refused != stamp:
            self.refused = stamp
            name = self._spec.name
            _log.error("waf {name}: changed rules are not used: {why}", name=name, why=why)

    def _tried(self, problem: str) -> None:
        """Handle the result of the new process: changed files are loaded, or have a problem."""
        assert self._trial is not None
        self._trial_timer.clear()
        child, loadout = self._trial
        if problem:
            self._refuse(loadout.stamp, problem)
            self._end_trial()
            return
        self._trial, self.refused = None, None
        self._loadout = loadout
        _log.info("waf {name}: changed rules are loaded", name=self._spec.name)
        for seat in list(self._seats.values()):
            if seat.ask is None:
                self._end_seat(seat)
            else:
                seat.retired = True
        self._seat(child)
        self._fill()
        self._serve()

    def _end_trial(self) -> None:
        self._trial_timer.clear()
        trial, self._trial = self._trial, None
        if trial is not None:
            trial[0].close()

    def _end_seat(self, seat: _Seat) -> None:
        """End a process with old rules."""
        del self._seats[seat.child]
        seat.hung.close()
        seat.child.close()

    def _fill(self) -> None:
        """Start processes until there are as many as configured."""
        while len(self._seats) + len(self._starts) < self._spec.processes:
            child = self._spawn(self._loadout)
            if child is None:
                self._start_later()
                return
            self._seat(child)
