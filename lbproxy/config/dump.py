"""PURE. A configuration back to text: as ``lb.ini`` (:func:`dump`) and as plain data (:func:`as_json`).

``parse(dump(config)) == config`` for every configuration; what has its default value is left out.
"""

from __future__ import annotations

import copy
import re
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import attrs

from lbproxy.config.options import field_default, label, option_fields
from lbproxy.config.sections import SECTIONS
from lbproxy.config.value import value_lines
from lbproxy.model import Address, Config, PluginSpec, Target

__all__ = ["MASK", "as_json", "dump", "masked", "value_lines"]


def dump(config: Config) -> str:
    """The text of ``config``, one key per line and lists indented; includes are resolved, paths as they are held.

    Read it with the same ``base_dir``, for a socket's path and a plugin's file stay as written.
    """
    return "\n".join(
        _section(section.title_of(spec), spec)
        for section in SECTIONS.values()
        for spec in section.specs(config)
    )


def _section(title: str, spec: Any) -> str:
    lines = [f"[{title}]"]
    for name, f in option_fields(type(spec)).items():
        value = getattr(spec, name)
        if value == field_default(f):
            continue
        items = [item.replace("${", "$${") for item in value_lines(f.metadata["kind"], value)]
        if len(items) == 1:
            lines.append(f"{name} = {items[0]}")
        else:
            lines.append(f"{name} =")
            lines += [f"    {item}" for item in items]
    return "\n".join(lines) + "\n"


MASK = "***"
"""What stands for a secret."""

_SECRET = re.compile(r"(^|_)(password|passphrase|secret|token|credentials?)$")
_SECRET_HEADER = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)
_SECRET_TEXT = re.compile(rf"{_SECRET_HEADER.pattern}|auth|pass", re.IGNORECASE)


def _secret(spec: Any, field: attrs.Attribute[Any]) -> bool:
    """The value of ``field`` is not to be shown."""
    name, value = field.name, getattr(spec, field.name)
    if not value:
        return False
    if name == "value":  # of a header that a filter sets
        header = getattr(spec, "header", "")
        return isinstance(header, str) and _SECRET_HEADER.search(header) is not None
    if name in ("header", "send") and isinstance(value, str):  # what a check says
        wanted = _SECRET_TEXT if name == "send" else _SECRET_HEADER
        if ("value" not in attrs.fields_dict(type(spec))) and wanted.search(value):
            return True
    return bool(field.metadata.get("secret")) or _SECRET.search(name) is not None


def masked(value: Any) -> Any:
    """A copy of a spec, or of anything in one, with :data:`MASK` in place of secrets; to be shown, not used."""
    if isinstance(value, tuple):
        return tuple(masked(item) for item in value)
    if _plain(value) is not _ATTRS or not attrs.has(type(value)):
        return value
    made = copy.copy(value)
    for f in attrs.fields(type(value)):
        shown = MASK if _secret(value, f) else masked(getattr(value, f.name))
        object.__setattr__(made, f.name, shown)  # past the validators: nobody uses it
    return made


def as_json(config: Config, *, mask: bool = False) -> dict[str, Any]:
    """``config`` as dicts, lists, strings, numbers, booleans and None; durations in seconds, sizes in bytes.

    ``mask``: put :data:`MASK` in place of secrets: options that say so or are called ``password``, ``token`` and the
    like, what is written into headers of such names, and what a check sends that looks like a login.
    """
    plain = _Plain(mask)
    found: dict[str, Any] = {"file": config.file}
    for section in SECTIONS.values():
        if section.single:
            found[section.kind] = plain.of(getattr(config, section.field))
        else:
            found[section.plural] = {spec.name: plain.of(spec) for spec in section.specs(config)}
    return found


class _Plain:
    def __init__(self, mask: bool) -> None:
        self.mask = mask

    def of(self, value: Any) -> Any:
        """``value`` as JSON types."""
        plain = _plain(value)
        if plain is not _ATTRS:
            return plain
        if isinstance(value, PluginSpec):
            return {"name": value.name, "options": self.of(value.options)}
        if isinstance(value, tuple | list | set | frozenset):
            return [self.of(item) for item in value]
        if isinstance(value, dict):
            return {str(key): self.of(item) for key, item in value.items()}
        return {
            label(f): MASK if self.mask and _secret(value, f) else self.of(getattr(value, f.name))
            for f in attrs.fields(type(value))
            if f.name != "where" and f.init  # what is made of the others says nothing new
        }


_ATTRS = object()


def _plain(value: Any) -> Any:
    """What has no parts; ``_ATTRS`` for what has."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Address | Target | IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, PluginSpec | tuple | list | set | frozenset | dict) or attrs.has(
        type(value)
    ):
        return _ATTRS
    return str(value)
