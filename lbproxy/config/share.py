"""PURE. The part of a configuration that one of several worker processes serves.

The options declare it: ``option(..., workers=RULE)`` in :mod:`lbproxy.model` and in the ``Options``
of plugins. Without a rule a worker gets the value as it is.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

import attrs

__all__ = ["MASTER", "SHARED", "SPLIT", "share_of"]

SPLIT = "split"
"""A limit. Each worker gets an equal share; whole numbers are rounded up, so that only 0 means no
limit.
"""

MASTER = "master"
"""Only the master uses the option: workers get the default."""

SHARED = "shared"
"""The workers enforce this limit together at run time, so they get all of it. Nested values are not
split.
"""

T = TypeVar("T")


def share_of(spec: T, workers: int) -> T:
    """Return the part of ``spec``, an attrs object, for one of ``workers`` processes.

    Nested specs, and those in tuples, are treated alike. If nothing changes, ``spec`` itself is
    returned.
    """
    changes = {}
    for name, rule, default in _rules(cast("Any", type(spec))):
        value = getattr(spec, name)
        new = default if rule == MASTER else _part(value, rule, workers)
        if new is not value:
            changes[name] = new
    return cast("T", attrs.evolve(cast("Any", spec), **changes)) if changes else spec


def _part(value: Any, rule: str, workers: int) -> Any:
    if rule == SPLIT:
        if not value:
            return value
        return value / workers if isinstance(value, float) else -(-value // workers)
    if isinstance(value, tuple):
        parts = tuple(_part(one, "", workers) for one in value)
        changed = any(new is not old for new, old in zip(parts, value, strict=True))
        return parts if changed else value
    return share_of(value, workers) if attrs.has(type(value)) else value


@cache
def _rules(cls: Any) -> tuple[tuple[str, str, Any], ...]:
    """Return name, rule and default of each field that may differ in a worker."""
    found = []
    for field in attrs.fields(cls):
        rule = field.metadata.get("workers", "")
        if rule not in ("", SPLIT, MASTER, SHARED):
            raise ValueError(f"{cls.__name__}.{field.name}: unknown rule workers={rule!r}")
        if rule == SPLIT or (rule == "" and field.init):
            found.append((field.name, rule, None))
        elif rule == MASTER:
            found.append((field.name, rule, _default(field)))
    return tuple(found)


def _default(field: Any) -> Any:
    default = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default.factory()
    return default
