"""PURE. ``NAME words key=value flag``: a balancer, filter or probe and its options.

The caller passes ``resolve(kind, name)``, which finds the class of a name
(:func:`lbproxy.registry.resolver` creates it).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any

import attrs

from lbproxy.config.errors import PluginError
from lbproxy.config.foreign import foreign_plugin
from lbproxy.config.options import Spot, construct, dump_options, read_options
from lbproxy.config.words import Word, quote
from lbproxy.interfaces import Env, NoOptions
from lbproxy.model import PluginSpec

__all__ = ["Resolve", "dump_plugin", "read_plugin", "trial"]

Resolve = Callable[[str, str], Any]
"""``resolve(kind, name)`` returns a class.

Raises LookupError with the known names in ``.known``, or PluginError.
"""


def find_class(kind: str, name: str, spot: Spot, resolve: Resolve) -> Any:
    """Return the class of ``name``, or None with the reason reported."""
    try:
        return resolve(kind, name)
    except LookupError as error:
        here = foreign_plugin(kind, name)
        if here:
            spot.wrong(f"unknown {kind} {name!r}; {here}", found=name)
            return None
        known = tuple(getattr(error, "known", ()))
        spot.wrong(f"unknown {kind} {name!r}", found=name, known=known)
    except PluginError as error:
        spot.wrong(str(error), found=name)
    return None


def options_class(cls: Any) -> type[Any]:
    """Return the Options of a plugin class, or an empty class."""
    options: type[Any] = getattr(cls, "Options", None) or NoOptions
    return options


def read_plugin(
    kind: str, words: Sequence[Word], spot: Spot, resolve: Resolve, *, extra: Sequence[str] = ()
) -> PluginSpec | None:
    """Return the plugin that ``words`` describe, or None with the errors reported."""
    if not words:
        spot.wrong(f"the name of a {kind} is missing")
        return None
    name = words[0].text
    cls = find_class(kind, name, spot, resolve)
    if cls is None:
        return None
    options = options_class(cls)
    if not attrs.has(options):
        spot.wrong(f"{kind} {name!r}: its Options is not an attrs class")
        return None
    values = read_options(options, words[1:], spot, extra=extra)
    if spot.failed:
        return None
    made = construct(options, values, spot, name)
    return None if made is None else PluginSpec(name, cls, made, spot.where)


def trial(spec: PluginSpec, spot: Spot, owner: str) -> Any:
    """Return an instance with a stopped clock, for its declarations; None if it cannot be
    created.
    """
    env = Env(now=lambda: 0.0, random=Random(0), name=owner)
    try:
        return spec.cls(spec.options, env)
    except ValueError as error:
        spot.caught(error, spec.name)
    except Exception as error:
        spot.wrong(f"{spec.name}: {type(error).__name__}: {error}")
    return None


def dump_plugin(spec: PluginSpec, reserved: Collection[str] = ()) -> list[str]:
    """Return the words from which :func:`read_plugin` reads ``spec``.

    ``reserved`` words that are only text are quoted.
    """
    options = dump_options(spec.options, reserved) if attrs.has(type(spec.options)) else []
    return [quote(spec.name), *options]
