"""PURE. Filters with ``if`` and conditions in the words of routes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.condition import VERBS, Condition, compile_condition
from lbproxy.http.filter import Filter, phases_of
from lbproxy.http.paths import normal_path
from lbproxy.interfaces import AnyTraffic, Env, HookResult

if TYPE_CHECKING:
    from lbproxy.model import PluginSpec

__all__ = ["Conditional", "Conditions", "make_filter"]


def make_filter(plugin: PluginSpec, env: Env) -> Any:
    """Return the filter of a line of ``filters``. Raises the exceptions of its class."""
    inner = plugin.cls(plugin.options, env)
    return Conditional(inner, plugin, env) if plugin.conditions else inner


class Conditions:
    """Conditions that must all hold, compiled."""

    def __init__(self, conditions: Sequence[tuple[str, tuple[str, ...], bool]]) -> None:
        self.conditions: tuple[Condition, ...] = tuple(
            compile_condition(*one, response=True) for one in conditions
        )
        self._path = any(one.verb == "path" for one in self.conditions)

    def hold(self, context: Any) -> bool:
        """Return whether all of them hold.

        Raises :class:`ProxyError` BAD_REQUEST if a condition needs the path and the request's is
        ambiguous.
        """
        path: bytes | None = b""
        if self._path and context.request is not None:
            path = normal_path(context.request.path)
            if path is None:
                raise ProxyError(Kind.BAD_REQUEST, "ambiguous path, or one that leaves the root")
        return all(one.holds(context, path or b"") for one in self.conditions)


class Conditional(Filter):
    """A filter that runs only if its conditions hold.

    Conditions about the request are tested once, in the filter's first phase, or in ``request`` if
    that is earlier, and the result applies to the whole request: later changes of the path by
    filters do not matter. Conditions about the response are tested when it has arrived.
    """

    def __init__(self, inner: Any, plugin: PluginSpec, env: Env) -> None:
        super().__init__(plugin.options, env)
        late = [one for one in plugin.conditions if VERBS[one[0]].late]
        self.inner = inner
        self.modes = getattr(inner, "modes", frozenset({"http"}))
        self.fail_open = bool(getattr(inner, "fail_open", False))
        self.always = bool(getattr(inner, "always", False))
        self._early = Conditions([one for one in plugin.conditions if one not in late])
        self._late = Conditions(late) if late else None
        self._own = tuple(phases_of(inner))
        self._note = f"if {id(self)}"

    def phases(self) -> Iterable[str]:
        """Return the phases of the filter, and ``request`` to test conditions about it in time."""
        decided = {"early", "request", "server_request"} & set(self._own)
        if decided or not self._early.conditions:
            return self._own
        return ("request", *self._own)

    def _holds(self, traffic: AnyTraffic) -> bool:
        if traffic.request is None:
            return self._early.hold(traffic)  # properties of a connection do not change
        noted = traffic.vars
        if noted is None:
            noted = traffic.vars = {}
        found = noted.get(self._note)
        if found is None:
            found = noted[self._note] = self._early.hold(traffic)
        return bool(found)

    def early(self, traffic: AnyTraffic) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""
        return self.inner.early(traffic) if self._holds(traffic) else None

    def request(self, traffic: AnyTraffic) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""
        holds = self._holds(traffic)
        return self.inner.request(traffic) if holds and "request" in self._own else None

    def server_request(self, traffic: AnyTraffic) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""
        return self.inner.server_request(traffic) if self._holds(traffic) else None

    def response(self, traffic: AnyTraffic) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""
        holds = self._holds(traffic) and (self._late is None or self._late.hold(traffic))
        return self.inner.response(traffic) if holds else None

    def failed(self, traffic: AnyTraffic, error: ProxyError) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""
        return self.inner.failed(traffic, error) if self._holds(traffic) else None

    def finish(self, traffic: AnyTraffic) -> None:
        """See :class:`lbproxy.interfaces.IFilter`."""
        noted = traffic.vars
        if noted is not None and noted.get(self._note):
            self.inner.finish(traffic)
