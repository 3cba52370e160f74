"""CONTROL. Calls over channels: requests, answers, and pending requests."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from lbproxy.workers.channel import Channel

__all__ = ["PATIENCE", "RemoteCalls"]

PATIENCE = 5.0
"""Deadline in seconds for the answer of a process. Later answers are ignored."""


@define(eq=False)
class _Call:
    waiting: set[int]
    done: Deferred[dict[int, Any]]
    answers: dict[int, Any] = field(factory=dict)
    limit: Any = None


class RemoteCalls:
    """Pending calls. Processes are identified by their slots.

    Every call ends after :data:`PATIENCE` at the latest.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._numbers = count(1)
        self._open: dict[int, _Call] = {}

    def send(
        self, channels: Mapping[int, Channel], message: dict[str, Any]
    ) -> Deferred[dict[int, Any]]:
        """Send ``message`` with a ``number``.

        The Deferred fires with the received answers by slot.
        """
        number = next(self._numbers)
        done: Deferred[dict[int, Any]] = Deferred()
        call = _Call(set(channels), done)
        self._open[number] = call
        call.limit = self._reactor.callLater(PATIENCE, self._finish, number)
        for channel in list(channels.values()):
            channel.send({**message, "number": number})
        self._check(number)
        return done

    def answered(self, slot: int, number: int, answer: Any) -> None:
        """Store the answer of one process. A late answer is ignored."""
        call = self._open.get(number)
        if call is not None and slot in call.waiting:
            call.waiting.discard(slot)
            call.answers[slot] = answer
            self._check(number)

    def lost(self, slot: int) -> None:
        """Stop waiting for a process that has ended."""
        for number, call in list(self._open.items()):
            call.waiting.discard(slot)
            self._check(number)

    def stop(self) -> None:
        """End all calls with the answers received so far."""
        for call in list(self._open.values()):
            call.waiting.clear()
        for number in list(self._open):
            self._check(number)

    def _check(self, number: int) -> None:
        call = self._open.get(number)
        if call is not None and not call.waiting:
            call.limit.cancel()
            self._finish(number)

    def _finish(self, number: int) -> None:
        call = self._open.pop(number)
        call.done.callback(call.answers)
