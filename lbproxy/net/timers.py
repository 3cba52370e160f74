"""DATA. One coarse timer wheel for every deadline of the data path.

Connections re-arm their deadlines far more often than these fire, so re-arming is two attribute stores, never a
``callLater``.  A timer fires at most one tick late, never early.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["Timer", "TimerWheel"]

_log = Logger()


class TimerWheel:
    """Runs many :class:`Timer` objects on one ``callLater`` per tick; none while nothing is armed.

    ``tick``: granularity in seconds.
    """

    def __init__(self, clock: IReactorTime, tick: float = 0.05) -> None:
        self.clock = clock
        self.now: Callable[[], float] = clock.seconds
        self._tick = tick
        self._slots: dict[int, list[Timer]] = {}
        self._next = 0  # first slot not yet run
        self._call: Any = None
        self._waiting = 0

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A new timer, not armed; ``callback`` runs each time it fires."""
        return Timer(self, callback)

    def close(self) -> None:
        """Forget everything; timers armed later start it again."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for timers in self._slots.values():
            for timer in timers:
                timer._slot = -1
        self._slots.clear()

    def _put(self, timer: Timer) -> None:
        slot = math.ceil(timer._deadline / self._tick)
        if self._call is None:
            self._next = int(self.now() / self._tick)
            self._call = self.clock.callLater(self._tick, self._run)
        if slot <= self._next:
            slot = self._next + 1
        timer._slot = slot
        try:
            self._slots[slot].append(timer)
        except KeyError:
            self._slots[slot] = [timer]

    def _run(self) -> None:
        now = self.now()
        current = int(now / self._tick)
        self._call = None
        due: list[list[tuple[int, Timer]]] = []
        if current - self._next > len(self._slots):  # the clock jumped, or few slots are in use
            passed = sorted(slot for slot in self._slots if slot <= current)
        else:
            passed = [slot for slot in range(self._next, current + 1) if slot in self._slots]
        for slot in passed:
            due.append([(slot, timer) for timer in self._slots.pop(slot)])
        self._next = current
        for batch in due:
            for slot, timer in batch:
                if timer._slot == slot:
                    timer._slot = -1
                    timer._due(now)
        if self._slots and self._call is None:
            self._call = self.clock.callLater(self._tick, self._run)


class Timer:
    """One re-armable deadline of one owner."""

    __slots__ = ("_callback", "_deadline", "_slot", "_wheel")

    def __init__(self, wheel: TimerWheel, callback: Callable[[], None]) -> None:
        self._wheel = wheel
        self._callback = callback
        self._deadline = math.inf
        self._slot = -1  # the slot it waits in; -1: none

    @property
    def armed(self) -> bool:
        """It will fire unless it is cleared."""
        return self._deadline != math.inf

    def set(self, delay: float) -> None:
        """Fire ``delay`` seconds from now, in place of any earlier deadline."""
        wheel = self._wheel
        self._deadline = deadline = wheel.now() + delay
        slot = self._slot
        if slot < 0 or deadline < (slot - 1) * wheel._tick:
            wheel._put(self)

    def clear(self) -> None:
        """Do not fire; cheap, and harmless when it is not armed."""
        self._deadline = math.inf

    def _due(self, now: float) -> None:
        deadline = self._deadline
        if deadline <= now:
            self._deadline = math.inf
            try:
                self._callback()
            except Exception:
                _log.failure("a timer callback failed: {callback}", callback=self._callback)
        elif deadline != math.inf:
            self._wheel._put(self)
