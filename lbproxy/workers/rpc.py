"""CONTROL. What the master asks its workers, and those that still have to answer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, TypedDict

from attrs import define, field
from twisted.internet.defer import Deferred

from lbproxy.workers.channel import Channel

__all__ = ["PATIENCE", "Questions", "SessionQuery"]

PATIENCE = 5.0
"""Seconds that a worker has; who does not answer is left out."""


class SessionQuery(TypedDict):
    """Which sessions: the arguments of :meth:`lbproxy.service.LoadBalancer.sessions`."""

    backend: str
    name: str
    frontend: str
    client: str
    limit: int


@define(eq=False)
class _Question:
    left: set[int]
    done: Deferred[dict[int, Any]]
    answers: dict[int, Any] = field(factory=dict)
    limit: Any = None


class Questions:
    """Workers are known by their slots.  Every question is answered, at the latest after :data:`PATIENCE`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._numbers = count(1)
        self._open: dict[int, _Question] = {}

    def ask(
        self, channels: Mapping[int, Channel], message: dict[str, Any]
    ) -> Deferred[dict[int, Any]]:
        """Fires with the answers by slot, of those that have answered."""
        number = next(self._numbers)
        done: Deferred[dict[int, Any]] = Deferred()
        question = _Question(set(channels), done)
        self._open[number] = question
        question.limit = self._reactor.callLater(PATIENCE, self._over, number)
        for channel in list(channels.values()):
            channel.send({**message, "number": number})
        self._look(number)
        return done

    def answered(self, slot: int, number: int, answer: Any) -> None:
        """One worker has; perhaps too late."""
        question = self._open.get(number)
        if question is not None and slot in question.left:
            question.left.discard(slot)
            question.answers[slot] = answer
            self._look(number)

    def lost(self, slot: int) -> None:
        """This one will not answer any more."""
        for number, question in list(self._open.items()):
            question.left.discard(slot)
            self._look(number)

    def _look(self, number: int) -> None:
        question = self._open.get(number)
        if question is not None and not question.left:
            question.limit.cancel()
            self._finish(number)

    def _over(self, number: int) -> None:
        self._finish(number)

    def _finish(self, number: int) -> None:
        question = self._open.pop(number)
        question.done.callback(question.answers)
