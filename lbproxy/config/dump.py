"""PURE. Conversion of a configuration to ``lb.ini`` (:func:`dump`) and to plain data
(:func:`as_json`).

``parse(dump(config)) == config`` for every configuration. Default values are omitted.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import attrs

from lbproxy.config.conditions import dump_conditions
from lbproxy.config.masking import masked
from lbproxy.config.options import field_default, label, option_fields
from lbproxy.config.sections import SECTIONS
from lbproxy.config.value import value_lines
from lbproxy.model import Address, Config, Target
from lbproxy.model.secrets import MASK

__all__ = ["MASK", "as_json", "dump"]


def dump(config: Config) -> str:
    """Return the text of ``config``, with one key per line and lists indented.

    Includes are resolved, and paths are as stored. Read the text with the same ``base_dir``,
    because the path of a socket and the file of a plugin stay as written.
    """
    return "\n".join(
        _section(section.title_of(spec), spec)
        for section in SECTIONS.values()
        for spec in section.specs(config)
    )


def _section(title: str, spec: Any) -> str:
    lines = [f"[{title}]"]
    for name, f in option_fields(type(spec)).items():
        value, key = getattr(spec, name), label(f)
        empty = f.metadata.get("empty")
        if value == field_default(f):
            if empty is not None:
                lines.append(f"{key} = {empty}")
            continue
        items = [item.replace("${", "$${") for item in value_lines(f.metadata["kind"], value)]
        if len(items) == 1:
            lines.append(f"{key} = {items[0]}")
        else:
            lines.append(f"{key} =")
            lines += [f"    {item}" for item in items]
    return "\n".join(lines) + "\n"


def as_json(config: Config, *, mask: bool = False) -> dict[str, Any]:
    """Return ``config`` as plain JSON types, with durations in seconds and sizes in bytes.

    ``mask``: replace secrets by :data:`MASK`. Secrets are options marked as such or named
    ``password``, ``token`` and the like; headers, cookies and parameters with such names; passwords
    in URLs and program arguments; and data of checks that looks like a login.
    """

    def plain(spec: Any) -> Any:
        return _json(masked(spec) if mask else spec)

    found: dict[str, Any] = {"file": config.file}
    for section in SECTIONS.values():
        if section.single:
            found[section.kind] = plain(getattr(config, section.field))
        else:
            found[section.plural] = {spec.name: plain(spec) for spec in section.specs(config)}
    return found


def _json(value: Any) -> Any:
    """Return ``value`` as JSON types."""
    plain = _plain(value)
    if plain is not _ATTRS:
        return plain
    if isinstance(value, tuple | list | set | frozenset):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    found = {}
    for f in attrs.fields(type(value)):
        if f.name == "where" or not f.init or f.metadata.get("unshown"):
            continue  # derived fields add nothing
        part = getattr(value, f.name)
        if not f.metadata.get("after_if"):
            found[label(f)] = _json(part)
        elif part:
            found["if"] = " ".join(dump_conditions(part))
    return found


_ATTRS = object()


def _plain(value: Any) -> Any:
    """Return a value without parts; ``_ATTRS`` for one with parts."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Address | Target | IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, tuple | list | set | frozenset | dict) or attrs.has(type(value)):
        return _ATTRS
    return str(value)
