"""PURE. The base class of filters, and filters compiled into one tuple of hooks per phase."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import evolve, frozen
from zope.interface import implementer

from lbproxy.errors import ProxyError
from lbproxy.interfaces import AnyTraffic, Env, HookResult, IFilter, NoOptions

if TYPE_CHECKING:
    from attrs import AttrsInstance

__all__ = ["PHASES", "Filter", "Hook", "NoOptions", "Phases", "compile_phases", "phases_of"]

Hook = Callable[..., Any]
"""Receives the traffic, and in phase ``failed`` also the error."""

PHASES: tuple[str, ...] = ("early", "request", "server_request", "response", "failed", "finish")
"""Hooks in the order in which traffic passes them."""


@implementer(IFilter)
class Filter:
    """Base class of filters: implement phases, and configure ``filters = file.py:YourClass``.

    The phases and their results are those of :class:`lbproxy.interfaces.IFilter`. One object serves
    every request of its frontend or backend, so data about a request must not be stored on
    ``self``.

    - ``Options``: a frozen attrs class. A ValueError of its validators or of
      ``__attrs_post_init__`` is reported with file and line.
    - ``fail_open``: traffic continues when a hook raises or takes too long.
    - ``always``: phase ``response`` also runs for replies of filters and routes, and for error
      pages.
    """

    name: ClassVar[str] = ""
    Options: ClassVar[type[AttrsInstance]] = NoOptions
    modes: frozenset[str] = frozenset({"http"})
    fail_open: bool = False
    always: bool = False

    def __init__(self, options: Any, env: Env) -> None:
        self.options = options
        self.env = env

    def phases(self) -> Iterable[str]:
        """Return the phases to call; by default those that the class overrides."""
        mine = type(self)
        return [phase for phase in PHASES if getattr(mine, phase) is not getattr(Filter, phase)]

    def early(self, traffic: AnyTraffic) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""

    def request(self, traffic: AnyTraffic) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""

    def server_request(self, traffic: AnyTraffic) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""

    def response(self, traffic: AnyTraffic) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""

    def failed(self, traffic: AnyTraffic, error: ProxyError) -> HookResult:
        """See :class:`lbproxy.interfaces.IFilter`."""

    def finish(self, traffic: AnyTraffic) -> None:
        """See :class:`lbproxy.interfaces.IFilter`."""


@frozen
class Phases:
    """Hooks per phase, in the order of the configuration. A phase without hooks has an empty tuple.

    A hook is a bound method, so ``hook.__self__`` is its filter.
    """

    early: tuple[Hook, ...] = ()
    request: tuple[Hook, ...] = ()
    server_request: tuple[Hook, ...] = ()
    response: tuple[Hook, ...] = ()
    failed: tuple[Hook, ...] = ()
    finish: tuple[Hook, ...] = ()

    @property
    def always(self) -> tuple[Hook, ...]:
        """The hooks of phase ``response`` that also run for lbproxy's own responses."""
        return tuple(
            hook
            for hook in self.response
            if getattr(getattr(hook, "__self__", None), "always", False)
        )

    def before(self, **hooks: Hook) -> Phases:
        """Return these hooks with each of ``hooks`` before the other hooks of its phase."""
        return evolve(self, **{name: (one, *getattr(self, name)) for name, one in hooks.items()})

    def after(self, **hooks: Hook) -> Phases:
        """Return these hooks with each of ``hooks`` after the other hooks of its phase."""
        return evolve(self, **{name: (*getattr(self, name), one) for name, one in hooks.items()})

    def then(self, other: Phases) -> Phases:
        """Return these hooks followed by those of ``other``, in every phase."""
        return Phases(*(getattr(self, phase) + getattr(other, phase) for phase in PHASES))


def compile_phases(filters: Iterable[Any]) -> Phases:
    """Return the hooks of ``filters``.

    A filter that does not extend :class:`Filter` has a hook for each phase that it has a method
    for.
    """
    hooks: Mapping[str, list[Hook]] = {phase: [] for phase in PHASES}
    for one in filters:
        for phase in phases_of(one):
            hooks[phase].append(getattr(one, phase))
    return Phases(*(tuple(hooks[phase]) for phase in PHASES))


def phases_of(one: Any) -> Iterable[str]:
    """Return the phases of a filter."""
    if isinstance(one, Filter):
        return one.phases()
    return [phase for phase in PHASES if callable(getattr(one, phase, None))]
