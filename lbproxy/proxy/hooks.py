"""DATA. Runs the hooks of one filter phase, synchronous or not, for exchanges and TCP sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import Reply
from lbproxy.proxy.ratelog import Quiet
from lbproxy.proxy.runner import Runner, deferred_of

__all__ = ["Hook", "run_hooks"]

_quiet: Final = Quiet(Logger(__name__))

Hook = Callable[..., Any]


def run_hooks(
    runner: Runner, traffic: Any, hooks: tuple[Hook, ...], then: Callable[[], None], *words: Any
) -> None:
    """Call each of ``hooks`` with ``traffic`` (and ``words``), wait for asynchronous ones, then
    call ``then()``.

    A reply or an error ends the phase without a call of ``then``, and so does the end of the
    traffic (``runner.over``). ``runner.waiting`` is the Deferred being waited for; a runner that
    stops waiting removes and cancels it, and then nothing follows. A hook may take the frontend's
    ``timeout_filter``.
    """
    index = 0
    for hook in hooks:
        index += 1
        try:
            result = hook(traffic, *words) if words else hook(traffic)
        except BaseException:
            if not _forgiven(runner, hook, Failure()):
                return
            continue
        if result is None:
            continue
        if isinstance(result, Reply):
            runner.hook_replied(result)
            return
        deferred = deferred_of(result)
        if deferred is not None:
            _wait(runner, traffic, hook, deferred, hooks[index:], then, words)
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
    deferred: Deferred[Any],
    rest: tuple[Hook, ...],
    then: Callable[[], None],
    words: tuple[Any, ...],
) -> None:
    """Wait for one asynchronous hook, at most ``timeout_filter`` seconds."""
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
        # its result is ignored, however it handles the cancellation
        runner.waiting = None
        deferred.cancel()
        go_on(Failure(ProxyError(Kind.FILTER_TIMEOUT, _name(hook))))

    timer = traffic.frontend.wheel.timer(expired)
    # a feature that delays traffic on purpose sets its own limit
    patience = getattr(getattr(hook, "__self__", None), "patience", 0.0)
    timer.set(patience or traffic.frontend.timeout_filter)

    def done(value: Any) -> None:
        timer.close()
        if runner.waiting is deferred:
            runner.waiting = None
            if not runner.over:
                go_on(value)

    deferred.addBoth(done)


def _name(hook: Hook) -> str:
    owner = getattr(hook, "__self__", None)
    owner = getattr(owner, "inner", owner)  # of a filter with conditions
    name: str = getattr(hook, "__name__", "hook")
    return f"{type(owner).__name__}.{name}" if owner is not None else name


def _forgiven(runner: Runner, hook: Hook, failure: Failure) -> bool:
    """Return True to continue after a failed hook that fails open; otherwise the traffic has been
    failed.
    """
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
