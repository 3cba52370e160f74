"""DATA. Running traffic and limits of bytes: paused with ``delay``, ended with ``reject``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbproxy.errors import ProxyError
from lbproxy.net.timers import TimerWheel
from lbproxy.net.wrapped import ThrottledStream
from lbproxy.proxy.features.limiting.bodymeter import BodyMeter
from lbproxy.proxy.features.limiting.gate import Throttle
from lbproxy.proxy.features.limiting.limit import LimitCheck
from lbproxy.proxy.features.limiting.note import LimitNote, paces
from lbproxy.proxy.features.limiting.verdict import LimitVerdicts
from lbproxy.proxy.http.tunnel import THROTTLE

__all__ = ["LimitThrottles"]


class LimitThrottles(LimitVerdicts):
    """See the module."""

    def __init__(self, wheel: TimerWheel, names: Sequence[str]) -> None:
        super().__init__(wheel, names)
        self._refused_late: dict[int, tuple[Any, ProxyError]] = {}
        self._cutter = wheel.timer(self._cut_late)

    def _set_throttle(self, traffic: Any, note: LimitNote) -> None:
        """Give ``traffic`` a throttle if one of its limits paces it."""
        checks = [one for one in note.asked if paces(one.limit)]
        if not checks:
            return

        def refuse(check: LimitCheck) -> None:
            if note.refused is None:
                self._refused_late[id(traffic.info)] = traffic, self._refused(note, check)
                self._cutter.set(0.0)  # not now, because the caller is processing its bytes

        note.throttle = Throttle(checks, self._wheel, self._note_delayed, refuse)
        traffic.vars[THROTTLE] = note.throttle  # for tunnels

    def _note_delayed(self, checks: list[LimitCheck]) -> None:
        """Count traffic that is paused for the first time."""
        self.counters.limit_delayed += 1
        for one in checks:
            self.tallies[one.limit.name].delayed += 1

    def throttle_session(self, session: Any) -> None:
        """Phase ``response`` of a TCP session: replace its streams by throttled ones."""
        throttle = _throttle_of(session)
        if throttle is not None:
            session.wrap_streams(lambda stream: ThrottledStream(stream, throttle))
            throttle.touch = lambda: session.moved_in(0)

    def throttle_request(self, traffic: Any) -> None:
        """Phase ``server_request``: meter the body of a request that has one."""
        throttle = _throttle_of(traffic)
        if throttle is not None and traffic.request.length != 0:
            traffic.transform_request(BodyMeter(throttle, True))

    def _throttle_response(self, traffic: Any) -> None:
        """Phase ``response``: meter the body."""
        throttle = _throttle_of(traffic)
        if throttle is not None:
            traffic.transform_response(BodyMeter(throttle, False))

    def _cut_late(self) -> None:
        """Close traffic whose debt takes too long."""
        over, self._refused_late = self._refused_late, {}
        self._cut_off(over)

    def _cut_off(self, over: dict[int, tuple[Any, ProxyError]]) -> None:
        """Close the connections of running requests and sessions. ``over``: by connection."""
        for client in list(self._owner.clients):
            found = over.get(id(getattr(client, "info", None)))
            if found is not None:
                client.kill(found[1])


def _throttle_of(traffic: Any) -> Throttle | None:
    return traffic.vars.get(THROTTLE) if traffic.vars else None
