"""DATA. Reactors whose clock never jumps: all deadlines and durations use the monotonic clock.

Twisted's reactors schedule by ``time.time``. When an operator or NTP sets the system's clock back
an hour, every delayed call waits an hour longer. When it is set forward, all of them are due at
once. A program that owns its reactor calls :func:`keep_steady` once. The reactor of a program that
embeds lbproxy is unchanged, and lbproxy runs its own delayed calls through :func:`steady`.
"""

from __future__ import annotations

import ctypes
import heapq
import os
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.runtime import seconds as wall_clock
from zope.interface import alsoProvides, implementer, providedBy

__all__ = ["SteadyReactor", "keep_steady", "steady"]

_log = Logger()


def keep_steady(reactor: Any) -> None:
    """Make ``reactor`` itself use the monotonic clock, for the program that owns it.

    The remaining time of calls that are delayed already does not change.
    """
    if reactor.seconds is not wall_clock:
        return
    shift = time.monotonic() - reactor.seconds()
    reactor.seconds = time.monotonic
    for call in reactor.getDelayedCalls():
        call.time += shift
        call.seconds = time.monotonic


def steady(reactor: Any) -> Any:
    """Return ``reactor`` with our own delayed calls, if its clock can jump and the system has
    timerfd.

    Virtual clocks and reactors that are steady already are returned unchanged.
    """
    if reactor.seconds is not wall_clock or not IReactorFDSet.providedBy(reactor):
        return reactor
    try:
        os.close(_timerfd())
    except OSError as error:
        _log.warn("timeouts depend on changes of the system's clock: {error}", error=error)
        return reactor
    return SteadyReactor(reactor)


class SteadyReactor:
    """A wrapper of ``reactor`` with its own IReactorTime: ``seconds`` and delayed calls are
    monotonic.

    One timerfd, watched by ``reactor`` while a call is pending, wakes it for the earliest call.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.seconds = time.monotonic
        self._calls: list[tuple[float, int, DelayedCall]] = []
        self._order = count()
        self._alarm: _Alarm | None = None
        self._running = False
        alsoProvides(self, *providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """See :class:`twisted.internet.interfaces.IReactorTime`."""
        if delay < 0:
            raise ValueError(f"cannot call {callable} in {delay} s")
        call = DelayedCall(
            time.monotonic() + delay,
            callable,
            args,
            kw,
            self._cancelled,
            self._moved,
            time.monotonic,
        )
        self._push(call)
        self._set_alarm()
        return call

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """See :class:`twisted.internet.interfaces.IReactorTime`. Returns only our own calls."""
        return [call for _, _, call in self._calls if call.active()]

    def _push(self, call: DelayedCall) -> None:
        heapq.heappush(self._calls, (call.getTime(), next(self._order), call))

    def _cancelled(self, call: DelayedCall) -> None:
        self._calls = [entry for entry in self._calls if entry[2] is not call]
        heapq.heapify(self._calls)
        self._set_alarm()

    def _moved(self, call: DelayedCall) -> None:
        """Handle a call that was moved. One moved to a later time is checked when it was originally
        due.
        """
        self._push(call)
        self._set_alarm()

    def _run(self) -> None:
        """Run the calls that are due."""
        self._running = True
        try:
            now = time.monotonic()
            due = []
            while self._calls and self._calls[0][0] <= now:
                due.append(heapq.heappop(self._calls)[2])
            for call in due:
                self._call(call, now)
        finally:
            self._running = False
            self._set_alarm()

    def _call(self, call: DelayedCall, now: float) -> None:
        if not call.active():
            return
        if call.getTime() > now:
            call.activate_delay()
            self._push(call)
            return
        call.called = 1
        try:
            call.func(*call.args, **call.kw)
        except BaseException:
            _log.failure("a delayed call failed: {call}", call=call)

    def _set_alarm(self) -> None:
        if self._running:
            return
        calls = self._calls
        while calls and not calls[0][2].active():
            heapq.heappop(calls)
        if not calls:
            if self._alarm is not None:
                self._reactor.removeReader(self._alarm)
                self._alarm.close()
                self._alarm = None
            return
        if self._alarm is None:
            self._alarm = _Alarm(self._run)
            self._reactor.addReader(self._alarm)
        self._alarm.set(calls[0][0])


@implementer(IReadDescriptor)
class _Alarm:
    """A descriptor that becomes readable at a moment of the monotonic clock, and then calls
    ``callback``.
    """

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._fd = _timerfd()
        self._at = 0.0

    def set(self, moment: float) -> None:
        """Wake at ``moment``, which replaces any earlier one. A past moment wakes at once."""
        if moment != self._at:
            self._at = moment
            _set_timerfd(self._fd, moment)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)
        self._fd = -1

    def fileno(self) -> int:
        """See IReadDescriptor."""
        return self._fd

    def logPrefix(self) -> str:
        """See IReadDescriptor."""
        return "lbproxy"

    def doRead(self) -> None:
        """See IReadDescriptor."""
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._at = 0.0
        self._callback()

    def connectionLost(self, reason: Failure) -> None:
        """Handle the stop of the reactor."""


# -- timerfd (timerfd_create(2)), which Python has as a function since 3.13 --------------------


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_TFD_TIMER_ABSTIME = 1
_libc: Any = None


def _libc_call(name: str, *args: Any) -> int:
    global _libc  # noqa: PLW0603
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    function = getattr(_libc, name, None)
    if function is None:
        raise OSError(f"the system has no {name}")
    result = int(function(*args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _timerfd() -> int:
    """Return a new non-blocking timerfd on CLOCK_MONOTONIC. Raises OSError if none is available."""
    flags = os.O_NONBLOCK | os.O_CLOEXEC
    return _libc_call("timerfd_create", time.CLOCK_MONOTONIC, flags)


def _set_timerfd(fd: int, moment: float) -> None:
    """Make ``fd`` readable at ``moment``."""
    nanoseconds = max(1, int(moment * 1_000_000_000))
    value = _Timespec(*divmod(nanoseconds, 1_000_000_000))
    spec = _Itimerspec(_Timespec(0, 0), value)
    _libc_call("timerfd_settime", fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)
