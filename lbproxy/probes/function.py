"""CONTROL. A coroutine function as a check: ``check = checks.py:queue_depth limit=500``.

:mod:`lbproxy.registry` converts an ``async def`` to a probe class where it expects a class.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, ClassVar, get_type_hints

from attrs import asdict, evolve, make_class

from lbproxy.config.model import option
from lbproxy.errors import ProxyError
from lbproxy.health.state import Result
from lbproxy.interfaces import Env
from lbproxy.probes.base import Draining, Probe, ProbeTarget, Unhealthy

__all__ = ["FunctionProbe", "function_probe", "verdict"]

KINDS = {str: "string", int: "int", float: "float", bool: "flag"}
"""Annotation of a parameter -> kind of option."""

_BOUNDS: dict[type, dict[str, float]] = {
    int: {"min": -(2**63), "max": 2**63},
    float: {"min": -1e300, "max": 1e300},
}


class FunctionProbe(Probe):
    """Runs ``function(target, **options)``; :func:`verdict` lists the allowed return values."""

    function: ClassVar[Callable[..., Awaitable[Any]]]

    def __init__(self, options: Any, env: Env) -> None:
        super().__init__(options, env)
        self._arguments: dict[str, Any] = asdict(options)

    async def check(self, target: ProbeTarget) -> Result:
        """See :class:`lbproxy.interfaces.IProbe`."""
        now = target.network.wheel.now
        begun = now()
        try:
            found = await type(self).function(target, **self._arguments)
        except (Unhealthy, ProxyError) as error:
            certain = getattr(error, "certain", False)
            return Result(False, str(error), now() - begun, certain=certain)
        except Draining as drain:
            return Result(True, str(drain), now() - begun, drain=True)
        return verdict(found, now() - begun)


def verdict(found: Any, seconds: float) -> Result:
    """Convert a function's return value to a :class:`Result`.

    True and None: success. False: failure. A text: success with that note. A :class:`Result` is
    used as it is, with the time filled in. TypeError for anything else.
    """
    if isinstance(found, Result):
        return found if found.seconds else evolve(found, seconds=seconds)
    if found is None or isinstance(found, bool):
        return Result(found is not False, "" if found is not False else "said no", seconds)
    if isinstance(found, str):
        return Result(True, found, seconds)
    raise TypeError(f"it gave {type(found).__name__}, not a bool, a text or a Result")


@lru_cache(maxsize=256)
def function_probe(function: Any, name: str) -> type[FunctionProbe]:
    """Return a probe class around ``async def function(target, *, option: int = 1)``.

    The parameters after the first are the check's options. Each is a str, int, float or bool (a
    flag, off by default). The same function always gives the same class. Raises ValueError for a
    function with another signature.
    """
    options = _options(function, name)
    members = {
        "function": staticmethod(function),
        "Options": options,
        "name": name,
        "__doc__": inspect.getdoc(function) or "",
        "__module__": function.__module__,
    }
    return type(function.__name__, (FunctionProbe,), members)


def _options(function: Any, name: str) -> type[Any]:
    first, *others = inspect.signature(function).parameters.values() or (None,)
    if first is None or first.kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise ValueError(f"{name!r} must take the target of the check as its first argument")
    try:
        hints = get_type_hints(function)
    except Exception as error:
        raise ValueError(f"{name!r}: its annotations cannot be read: {error}") from None
    fields = {}
    for parameter in others:
        kind = hints.get(parameter.name, type(parameter.default))
        by_name = parameter.kind in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        )
        if not by_name or kind not in KINDS:
            raise ValueError(
                f"{name!r}: {parameter.name} cannot be an option; write it as {parameter.name}: "
                "str = ..., "
                "or int, float or bool"
            )
        facts: dict[str, Any] = dict(_BOUNDS.get(kind, {}))
        doc = f"as {function.__name__} says"
        if parameter.default is inspect.Parameter.empty and kind is not bool:
            fields[parameter.name] = option(KINDS[kind], doc=doc, **facts)
        else:
            default = False if kind is bool else parameter.default
            fields[parameter.name] = option(KINDS[kind], default, doc=doc, **facts)
    return make_class(f"{function.__name__}_options", fields, frozen=True, kw_only=True)
