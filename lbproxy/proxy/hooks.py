"""DATA. Runs the hooks of one filter phase, sync or async, for exchanges and TCP sessions alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import Reply
from lbproxy.proxy.ratelog import Quiet

__all__ = ["Hook", "Runner", "run_hooks"]

_log = Logger()
_quiet = Quiet(_log)

Hook = Callable[..., Any]


class Runner(Protocol):
    """What runs a phase: an exchange or a TCP session."""

    waiting: Deferred[Any] | None

    @property
    def over(self) -> bool:
        """The traffic has ended."""

    def hook_replied(self, reply: Reply) -> None:
        """A hook answered in place of a server."""

    def fail(self, error: ProxyError) -> None:
        """A hook refused the traffic, or failed."""


def run_hooks(
    runner: Runner, traffic: Any, hooks: tuple[Hook, ...], then: Callable[[], None], *words: Any
) -> None:
    """Call each of ``hooks`` with ``traffic`` (and ``words``), waiting for asynchronous ones, then ``then()``.

    A reply or an error ends the phase and ``then`` is not called; nor is it when the traffic ended
    meanwhile (``runner.over``).  ``runner.waiting`` is the Deferred waited for; a runner that no
    longer waits removes it and cancels it, and then nothing follows.  A hook may take the
    frontend's ``timeout_filter``."""
    for index, hook in enumerate(hooks):
        try:
            result = hook(traffic, *words)
        except BaseException:
            if not _forgiven(runner, hook, Failure()):
                return
            continue
        if result is None:
            continue
        if isinstance(result, Reply):
            runner.hook_replied(result)
            return
        if isinstance(result, Deferred) or isawaitable(result):
            _wait(runner, traffic, hook, result, hooks[index + 1 :], then, words)
            return
        error = TypeError(f"returned {type(result).__name__}, wanted None, Reply or an awaitable")
        if not _forgiven(runner, hook, Failure(error)):
            return
    if not runner.over:
        then()


def _wait(
    runner: Runner,
    traffic: Any,
    hook: Hook,
    result: Any,
    rest: tuple[Hook, ...],
    then: Callable[[], None],
    words: tuple[Any, ...],
) -> None:
    """Wait for one asynchronous hook, at most ``timeout_filter`` seconds."""
    if not isinstance(result, Deferred):
        result = Deferred.fromCoroutine(result if iscoroutine(result) else _awaited(result))
    deferred: Deferred[Any] = result
    runner.waiting = deferred

    def go_on(value: Any) -> None:
        if isinstance(value, Failure):
            if not _forgiven(runner, hook, value):
                return
            value = None
        if isinstance(value, Reply):
            runner.hook_replied(value)
        else:
            run_hooks(runner, traffic, rest, then, *words)

    def expired() -> None:
        # no longer waited for, whatever it makes of being cancelled
        runner.waiting = None
        deferred.cancel()
        go_on(Failure(ProxyError(Kind.FILTER_TIMEOUT, _name(hook))))

    timer = traffic.frontend.wheel.timer(expired)
    timer.set(traffic.frontend.timeout_filter)

    def done(value: Any) -> None:
        timer.close()
        if runner.waiting is deferred:
            runner.waiting = None
            if not runner.over:
                go_on(value)

    deferred.addBoth(done)


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _name(hook: Hook) -> str:
    owner = getattr(hook, "__self__", None)
    owner = getattr(owner, "inner", owner)  # of a filter with conditions
    name: str = getattr(hook, "__name__", "hook")
    return f"{type(owner).__name__}.{name}" if owner is not None else name


def _forgiven(runner: Runner, hook: Hook, failure: Failure) -> bool:
    """True to carry on after a hook failed (it fails open); else the traffic has been failed."""
    if runner.over:
        return False
    error = failure.value
    refused = isinstance(error, ProxyError) and error.kind is not Kind.FILTER_TIMEOUT
    if not refused:
        kind = f"{_name(hook)} {type(error).__name__}"
        _quiet.failure(kind, "filter {hook} failed", failure, hook=_name(hook))
        if getattr(getattr(hook, "__self__", None), "fail_open", False):
            return True
    if not isinstance(error, ProxyError):
        error = ProxyError(Kind.FILTER_FAILED, f"{_name(hook)}: {type(error).__name__}: {error}")
    runner.fail(error)
    return False
