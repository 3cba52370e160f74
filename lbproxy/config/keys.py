"""PURE. Keys that features add to the sections and lines of the model.

The model class of a section becomes a subclass with further fields, so that their keys are read,
checked, dumped, compared and documented as any other.  :func:`lbproxy.features.declare_keys` calls
this once for the features of each kind of section: making a class costs a millisecond.
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
    """Give the sections of ``kind`` the keys of ``keys``, attrs classes of
    :func:`lbproxy.config.model.option` fields, which all have defaults.

    Keys of a ``route`` are keys of the frontend and options of its routes: an option of a route is
    None where it is not written, and the key of the frontend holds.  Adding the same class again
    does nothing; ValueError for a key that exists, or of a kind that an option cannot have.
    """
    section = SECTIONS["frontend" if kind == "route" else kind]
    groups = [attrs.fields_dict(one) for one in keys]
    SECTIONS[section.kind] = evolve(section, spec=_extended(section.spec, groups, section.title))
    if kind == "route":
        add_route_options(*keys, default_words="that of the frontend")


def add_route_options(*keys: type[Any], default_words: str = "none") -> None:
    """Give routes the options of ``keys``, attrs classes as of :func:`add_keys`; an option is None
    where it is not written.
    """
    spec = LINES["route"].options
    assert spec is not None
    groups = [
        {name: _as_option(field, default_words) for name, field in attrs.fields_dict(one).items()}
        for one in keys
    ]
    LINES["route"] = route_line(_extended(spec, groups, "a route"))


def _extended(spec: type[Any], groups: Sequence[Fields], title: str) -> type[Any]:
    """``spec`` with the fields of ``groups``; itself if it has all of them."""
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
    """A key as the option of a route, which may be absent."""
    kind = key.metadata["kind"]
    if kind.partition(":")[0] in ("line", "lines"):
        raise ValueError(f"{key.name}: a route cannot have an option of kind {kind!r}")
    metadata = {**key.metadata, "default_words": default_words}
    validator, converter = key.validator, key.converter
    return key.evolve(
        default=None,
        metadata=metadata,
        validator=None if validator is None else attrs.validators.optional(validator),
        converter=None if converter is None else attrs.converters.optional(converter),
    )


def _same(one: Any, two: Any) -> bool:
    return one is not None and bool(one.metadata == two.metadata and one.default == two.default)
