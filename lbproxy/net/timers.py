"""DATA. One coarse timer wheel for every deadline of the data path.

Connections re-arm their deadlines far more often than these fire. Re-arming is therefore two
attribute stores, never a ``callLater``. A timer fires at most one tick late, never early.

A timer waits in a slot of the wheel. A timer that is cleared or re-armed later stays in its slot;
when the slot comes up, it is moved to the right slot or dropped. No slot is further away than
``HORIZON_S``, so the timer of a closed connection is soon removed, however long its deadline was.
:meth:`Timer.close` drops the reference to the owner at once.

Deadlines use the clock of the reactor, which programs and :class:`lbproxy.service.LoadBalancer`
make monotonic (:mod:`lbproxy.net.steady`). The wheel also knows the offset of the system's clock,
for dates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["Timer", "TimerWheel"]

_log = Logger(__name__)

_unix_time: Final = time.time
_NEVER: Final = 1 << 60  # no slot
HORIZON_S: Final = 4.0
RESYNC_S: Final = 0.5  # maximum time between two wake-ups while a timer is armed
ROUNDING_S: Final = 1e-6  # tolerance for rounding errors of floats: a deadline this near is due


class TimerWheel:
    """Runs many :class:`Timer` objects on one ``callLater``, or on none while no timer is armed.

    It wakes when the next used slot begins, and every :data:`RESYNC_S`. ``tick``: granularity in
    seconds. ``epoch``: Unix time minus :attr:`now`, at most ``RESYNC_S`` old while a timer is
    armed. It is 0 on a clock that is not monotonic: that of a test, or one that is Unix time
    already.
    """

    def __init__(self, clock: IReactorTime, tick: float = 0.05) -> None:
        self.clock = clock
        self.now: Callable[[], float] = clock.seconds
        self._monotonic = self.now is time.monotonic
        self.epoch = 0.0
        self._set_epoch(self.now())
        self._tick = tick
        self._slots: dict[int, list[Timer]] = {}
        self._next = 0  # first slot not yet run
        self._call: Any = None
        self._wakes = _NEVER  # the slot for which _call is set
        self._running = False
        self._batches: list[list[Timer]] = []  # those that _run takes one after the other
        self._horizon = max(1, round(HORIZON_S / tick))  # in slots
        self._resync = max(1, round(RESYNC_S / tick))

    def timer(self, callback: Callable[[], None]) -> Timer:
        """Return a new timer that is not armed. ``callback`` runs each time it fires."""
        return Timer(self, callback)

    def wall(self) -> float:
        """Unix time, for dates only."""
        return _unix_time() if self._monotonic else self.now() + self.epoch

    def _set_epoch(self, now: float) -> None:
        if self._monotonic:
            self.epoch = _unix_time() - now

    def close(self) -> None:
        """Drop all timers, also those that are due in the current run. Timers armed later start
        the wheel again.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None
            self._wakes = _NEVER
        for timers in [*self._slots.values(), *self._batches]:
            for timer in timers:
                timer._slot = -1
                timer._deadline = math.inf
        self._slots.clear()

    def _put(self, timer: Timer) -> None:
        slots = self._slots
        if not slots and not self._running:
            now = self.now()
            self._set_epoch(now)
            self._next = int((now + ROUNDING_S) / self._tick)
        first = self._next + 1
        slot = first - 1 + self._horizon
        # distant and infinite deadlines are not converted: they wait for the next wake-up
        if timer._deadline < slot * self._tick:
            slot = max(first, math.ceil(timer._deadline / self._tick))
        timer._slot = slot
        waiting = slots.get(slot)
        if waiting is None:
            slots[slot] = [timer]
            if slot < self._wakes and not self._running:
                self._wake_at(slot)
        else:
            waiting.append(timer)

    def _run(self) -> None:
        now = self.now()
        self._set_epoch(now)
        current = int((now + ROUNDING_S) / self._tick)
        self._call = None
        self._wakes = _NEVER
        slots = self._slots
        if current - self._next > len(slots):  # the clock jumped, or few slots are in use
            passed = sorted(slot for slot in slots if slot <= current)
        else:
            passed = [slot for slot in range(self._next, current + 1) if slot in slots]
        due = [(slot, slots.pop(slot)) for slot in passed]
        self._batches = [batch for _, batch in due]
        # Set before callbacks run, and constant while they do: timers that they arm go to a later
        # slot, and a slow callback must not make the next run skip slots.
        self._next = max(current, self._next)
        self._running = True
        for slot, batch in due:
            for timer in batch:
                if timer._slot == slot:
                    timer._slot = -1
                    timer._due(now)
        self._running = False
        self._batches = []
        if slots:
            self._wake_at(min(slots))

    def _wake_at(self, slot: int) -> None:
        """Schedule a run when ``slot`` begins, or after :data:`RESYNC_S`, always at the begin of a
        slot.
        """
        now = self.now()
        slot = min(slot, int((now + ROUNDING_S) / self._tick) + self._resync)
        if slot >= self._wakes:
            return
        self._wakes = slot
        delay = max(0.0, slot * self._tick - now)
        if self._call is None:
            self._call = self.clock.callLater(delay, self._run)
        else:
            self._call.reset(delay)


class Timer:
    """One re-armable deadline of one owner."""

    __slots__ = ("_callback", "_deadline", "_slot", "_wheel")

    def __init__(self, wheel: TimerWheel, callback: Callable[[], None]) -> None:
        self._wheel = wheel
        self._callback = callback
        self._deadline = math.inf
        self._slot = -1  # slot that it waits in; -1: none

    @property
    def armed(self) -> bool:
        """True if the timer will fire unless it is cleared."""
        return self._deadline != math.inf

    @property
    def deadline(self) -> float:
        """Time at which it fires, by the clock of the wheel; infinite if it is not armed."""
        return self._deadline

    def set(self, delay: float) -> None:
        """Fire ``delay`` seconds from now. This replaces any earlier deadline."""
        wheel = self._wheel
        self._deadline = deadline = wheel.now() + delay
        slot = self._slot
        if slot < 0 or deadline < (slot - 1) * wheel._tick:
            wheel._put(self)

    def clear(self) -> None:
        """Disarm the timer. Cheap, and harmless if it is not armed."""
        self._deadline = math.inf

    def close(self) -> None:
        """Disarm the timer for good and drop the wheel's reference to its owner."""
        self._deadline = math.inf
        self._callback = _nothing

    def _due(self, now: float) -> None:
        deadline = self._deadline
        if deadline <= now + ROUNDING_S:
            self._deadline = math.inf
            try:
                self._callback()
            except BaseException:
                _log.failure("a timer callback failed: {callback}", callback=self._callback)
        elif deadline != math.inf:
            self._wheel._put(self)


def _nothing() -> None:
    """Do nothing. The callback of a closed timer."""
