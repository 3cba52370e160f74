"""CONTROL. The operations of a load balancer with workers: one table, for both ends.

A :class:`SpreadOperation` has the name of a method of :class:`lbproxy.service.LoadBalancer` and
defines where it runs. The master's method is generated from it (:func:`spread`), and a worker runs
its part (:func:`run`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, Protocol, TypeVar

import attrs
from attrs import frozen
from twisted.internet.defer import Deferred

from lbproxy.featuremethods import EVERYWHERE
from lbproxy.inventory import question_of
from lbproxy.operate.drain import SessionView
from lbproxy.service import LoadBalancer

__all__ = ["OPERATIONS", "SpreadOperation", "run", "spread"]

Arguments = dict[str, Any]
Answers = dict[int, Any]


class Asks(Protocol):
    """The interface of :class:`lbproxy.workers.master.Master` for operations."""

    backends: Any

    def feature(self, owner: str, name: str, feature: str) -> Any:
        """See LoadBalancer."""

    def call_workers(
        self, operation: str, arguments: Arguments, slot: int | None, *, answer: bool
    ) -> Deferred[Answers]:
        """Run an operation in all workers, or in that of ``slot``. The Deferred fires with the
        answers by slot.
        """


M = TypeVar("M", bound="type[LoadBalancer]")


@frozen
class SpreadOperation:
    """One method of the load balancer, spread over master and workers.

    ``worker(balancer, **arguments)``: the part of each worker.  ``master(master, **arguments)``:
    the part of the master; it runs first, and its result is that of the method, or with ``gather``
    the answer of slot -1.  ``gather(arguments, answers)`` makes the result of the workers' answers,
    by slot, as a Deferred's; a worker that does not answer in time is left out.  ``one(arguments)``
    gives the slot of the only worker that is asked, and its arguments.
    ``everywhere(master, arguments)``: whether workers have a part at all.
    """

    name: str
    worker: Callable[..., Any]
    master: Callable[..., Any] | None = None
    gather: Callable[[Arguments, Answers], Any] | None = None
    one: Callable[[Arguments], tuple[int, Arguments]] | None = None
    everywhere: Callable[[Any, Arguments], bool] = lambda master, arguments: True


def _session_count(master: Asks, backend: str, name: str) -> int:
    return int(master.backends[backend].group.servers[name].session_count)


def _everywhere(master: Asks, arguments: Arguments) -> bool:
    """Return whether an operation of a feature is for all processes."""
    feature = master.feature(arguments["owner"], arguments["name"], arguments["feature"])
    return bool(feature.operation(arguments["operation"]).everywhere)


def _sessions(balancer: LoadBalancer, **arguments: Any) -> list[dict[str, Any]]:
    return [attrs.asdict(one) for one in balancer.sessions(**arguments)]


def _all_sessions(arguments: Arguments, answers: Answers) -> list[SessionView]:
    """Return the sessions of all workers. A session's id begins with the slot of its worker."""
    found = [
        SessionView(**{**one, "id": f"{slot}.{one['id']}"})
        for slot, sessions in sorted(answers.items())
        for one in sessions or ()
    ]
    found.sort(key=lambda one: (one.backend, one.server, -one.age_s))
    return found[: arguments.get("limit", 1000)]


def _ask_here(balancer: LoadBalancer, **arguments: Any) -> Any:
    return balancer.ask_here(**arguments)


def _all_answers(arguments: Arguments, answers: Answers) -> Any:
    question = question_of(arguments["feature"], arguments["question"])
    return question.gather(answers[slot] for slot in sorted(answers))


def _owner(arguments: Arguments) -> tuple[int, Arguments]:
    slot, _, inner = arguments["id"].partition(".")
    return int(slot) if slot.isdecimal() else -1, {"id": inner}


OPERATIONS: tuple[SpreadOperation, ...] = (
    SpreadOperation("kill_sessions", LoadBalancer.kill_sessions, master=_session_count),
    *(
        SpreadOperation(name, getattr(LoadBalancer, name), master=getattr(LoadBalancer, name))
        for name in EVERYWHERE
    ),
    SpreadOperation("reopen_logs", LoadBalancer.reopen_logs, master=LoadBalancer.reopen_logs),
    SpreadOperation("hurry", LoadBalancer.hurry, master=LoadBalancer.hurry),
    SpreadOperation("hand_over", LoadBalancer.hand_over, master=LoadBalancer.hand_over),
    SpreadOperation(
        "operate", LoadBalancer.operate, master=LoadBalancer.operate, everywhere=_everywhere
    ),
    SpreadOperation("ask_all", _ask_here, master=_ask_here, gather=_all_answers),
    SpreadOperation("all_sessions", _sessions, gather=_all_sessions),
    SpreadOperation(
        "end_session",
        LoadBalancer.kill_session,
        gather=lambda arguments, answers: any(answers.values()),
        one=_owner,
    ),
)

_BY_NAME = {operation.name: operation for operation in OPERATIONS}


def run(balancer: LoadBalancer, name: str, arguments: Arguments) -> Any:
    """Run a worker's part of the operation ``name``. Return None for a name that its configuration
    does not have.
    """
    try:
        return _BY_NAME[name].worker(balancer, **arguments)
    except (KeyError, ValueError):
        return None


def spread(master: M) -> M:
    """Class decorator of the master, which adds a method for each of :data:`OPERATIONS`."""
    for operation in OPERATIONS:
        setattr(master, operation.name, _method(operation))
    return master


def _method(operation: SpreadOperation) -> Callable[..., Any]:
    base = getattr(LoadBalancer, operation.name)
    parameters = signature(base)

    @wraps(base)
    def method(master: Asks, *args: Any, **named: Any) -> Any:
        bound = parameters.bind(master, *args, **named)
        arguments = {k: v for k, v in bound.arguments.items() if k != "self"}
        result = operation.master(master, **arguments) if operation.master is not None else None
        if not operation.everywhere(master, arguments):
            return result
        slot = None
        inner = arguments
        if operation.one is not None:
            slot, inner = operation.one(arguments)
        answers = master.call_workers(
            operation.name, inner, slot, answer=operation.gather is not None
        )
        gather = operation.gather
        if gather is None:
            return result
        own = {} if operation.master is None else {-1: result}
        return answers.addCallback(lambda found: gather(arguments, {**own, **found}))

    return method
