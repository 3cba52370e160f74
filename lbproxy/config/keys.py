"""PURE. Keys that features add to the sections and lines of the model.

The model class of a section is replaced by a subclass with additional fields, so that the new keys
are read, checked, dumped, compared and documented like all others.
:func:`lbproxy.features.declare_keys` calls this once for the features of each kind of section,
because creating a class costs a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
from attrs import Attribute, evolve

from lbproxy.config.lines import LINES
from lbproxy.config.lines.route import route_line
from lbproxy.config.sections import SECTIONS

__all__ = ["add_keys", "add_route_options"]

Fields = Mapping[str, "Attribute[Any]"]


def add_keys(kind: Literal["frontend", "backend", "route"] | str, *keys: type[Any]) -> None:
    """Add the keys of ``keys`` to the sections of ``kind``. ``keys`` are attrs classes of
    :func:`lbproxy.config.model.option` fields, which all have defaults.

    Keys of a ``route`` become keys of the frontend and options of its routes. An option of a route
    is None if it is not written, and the key of the frontend applies. Adding the same class again
    does nothing. Raises ValueError for a key that exists already, or of a kind that options do not
    support.
    """
    section = SECTIONS["frontend" if kind == "route" else kind]
    groups = [attrs.fields_dict(one) for one in keys]
    SECTIONS[section.kind] = evolve(section, spec=_extended(section.spec, groups, section.title))
    if kind == "route":
        add_route_options(*keys, default_words="that of the frontend")


def add_route_options(*keys: type[Any], default_words: str = "none") -> None:
    """Add options to routes. ``keys`` are attrs classes as for :func:`add_keys`. An option is None
    if it is not written.
    """
    spec = LINES["route"].options
    assert spec is not None
    groups = [
        {name: _as_option(field, default_words) for name, field in attrs.fields_dict(one).items()}
        for one in keys
    ]
    LINES["route"] = route_line(_extended(spec, groups, "a route"))


def _extended(spec: type[Any], groups: Sequence[Fields], title: str) -> type[Any]:
    """Return ``spec`` with the fields of ``groups``, or ``spec`` itself if it has all of them."""
    known = attrs.fields_dict(spec)
    added: dict[str, Attribute[Any]] = {}
    for group in groups:
        taken = sorted(group.keys() & (known.keys() | added.keys()))
        if len(taken) == len(group) and all(_same(known.get(name), group[name]) for name in taken):
            continue
        if taken:
            raise ValueError(f"{title} already has a key {taken[0]!r}")
        added.update(group)
    if not added:
        return spec
    fields = {
        name: attrs.field(
            default=one.default,
            metadata=one.metadata,
            validator=one.validator,
            converter=one.converter,
            type=one.type,
        )
        for name, one in added.items()
    }
    return attrs.make_class(spec.__name__, fields, bases=(spec,), frozen=True, slots=True)


def _as_option(key: Attribute[Any], default_words: str) -> Attribute[Any]:
    """Return a key as the option of a route, which may be absent."""
    kind = key.metadata["kind"]
    if kind.partition(":")[0] in ("line", "lines"):
        raise ValueError(f"{key.name}: a route cannot have an option of kind {kind!r}")
    metadata = {**key.metadata, "default_words": key.metadata.get("route_default", default_words)}
    validator, converter = key.validator, key.converter
    return key.evolve(
        default=None,
        metadata=metadata,
        validator=None if validator is None else attrs.validators.optional(validator),
        converter=None if converter is None else attrs.converters.optional(converter),
    )


def _same(one: Any, two: Any) -> bool:
    return one is not None and bool(one.metadata == two.metadata and one.default == two.default)
