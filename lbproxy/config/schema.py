"""PURE. The configuration reference as data, and a JSON Schema of a configuration in JSON.

Both come from the model, like :mod:`lbproxy.config.reference`. ``lbproxy config reference --json``
and ``lbproxy config schema`` print them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from attrs import Attribute

from lbproxy.compiled import docstring
from lbproxy.config.lines import LINES
from lbproxy.config.options import field_default, label, option_fields
from lbproxy.config.plugins import options_class
from lbproxy.config.reference import default_words
from lbproxy.config.sections import MACROS, SECTIONS
from lbproxy.config.value import value_kind

__all__ = ["config_schema", "reference_data"]

_TYPES = {
    **dict.fromkeys(("int", "octal", "size", "workers"), "integer"),
    **dict.fromkeys(("float", "duration", "percent", "times", "byte_rate"), "number"),
    **dict.fromkeys(("bool", "flag"), "boolean"),
    **dict.fromkeys(("string", "choice", "name", "path", "program", "secret"), "string"),
}
"""JSON types of kinds of value; other kinds have no fixed type."""


def reference_data(version: str, plugins: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return every section, line and plugin with its keys, as plain JSON types.

    ``plugins`` maps "balancer", "sticky", "filter" and "probe" to classes.
    """
    sections = {
        one.kind: {"title": one.title, "doc": _text(one.doc), "keys": _keys(one.spec)}
        for one in SECTIONS.values()
    }
    for macro in MACROS.values():
        keys = _keys(macro.keys) if macro.keys is not None else []
        sections[macro.kind] = {"title": macro.title, "doc": _text(macro.doc), "keys": keys}
    lines = {
        one.name: {
            "doc": _text(one.intro),
            "keys": _keys(one.options) if one.options is not None else [],
            "forms": [{"form": form, "doc": _text(text)} for form, text in one.rows()],
        }
        for one in LINES.values()
        if one.intro
    }
    found = {
        kind: {str(cls.name): _plugin(cls) for cls in classes} for kind, classes in plugins.items()
    }
    return {"version": version, "sections": sections, "lines": lines, "plugins": found}


def _text(text: str) -> str:
    return " ".join(text.split())


def _plugin(cls: Any) -> dict[str, Any]:
    options = options_class(cls)
    return {
        "doc": inspect.cleandoc(docstring(cls)).strip(),
        "keys": _keys(options) if attrs.has(options) else [],
    }


def _keys(cls: type[Any]) -> list[dict[str, Any]]:
    return [_key(f) for f in option_fields(cls).values()]


def _key(f: Attribute[Any]) -> dict[str, Any]:
    """Return one key. ``kind`` and ``default`` are words, as in the reference for people."""
    facts = f.metadata
    key: dict[str, Any] = {
        "name": label(f),
        "kind": value_kind(facts["kind"]).describe(facts),
        "required": field_default(f) is attrs.NOTHING,
        "default": default_words(f),
        "doc": _text(facts["doc"]),
    }
    for name in ("choices", "min", "max", "example", "http_only", "positional"):
        value = facts.get(name)
        if value is not None and value is not False and value not in ("", ()):
            key[name] = list(value) if isinstance(value, tuple) else value
    return key


# -- JSON Schema ---------------------------------------------------------------------------------


def config_schema(version: str) -> dict[str, Any]:
    """Return a JSON Schema (2020-12) of ``config`` in the output of ``lbproxy check --json``.

    Durations are seconds and sizes bytes there.
    """
    properties: dict[str, Any] = {"file": {"type": "string"}}
    for section in SECTIONS.values():
        schema = _object(section.spec, _text(section.doc))
        if section.single:
            schema["type"] = ["object", "null"]
            properties[section.kind] = schema
        else:
            properties[section.plural] = {"type": "object", "additionalProperties": schema}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Configuration of lbproxy {version}",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _object(cls: type[Any], doc: str) -> dict[str, Any]:
    properties: dict[str, Any] = {"name": {"type": "string"}}
    properties |= {label(f): _value(f) for f in option_fields(cls).values()}
    return {
        "type": "object",
        "description": doc,
        "properties": properties,
        "required": [label(f) for f in option_fields(cls).values()],
    }


def _value(f: Attribute[Any]) -> dict[str, Any]:
    facts = f.metadata
    kind = str(facts["kind"])
    schema: dict[str, Any] = {"description": _text(facts["doc"])}
    shape, _, inner = kind.rpartition(":")
    if shape in ("list", "lines"):
        schema["type"] = "array"
        if shape == "list":
            schema["items"] = _one(inner, facts)
    elif shape == "line":
        schema["type"] = ["object", "null"]
    else:
        schema |= _one(kind, facts)
        if field_default(f) is None and isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
    return schema


def _one(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    if kind in _TYPES:
        schema["type"] = _TYPES[kind]
    if kind == "choice" and facts.get("choices"):
        schema["enum"] = list(facts["choices"])
    for name, word in (("min", "minimum"), ("max", "maximum")):
        if facts.get(name) is not None and schema.get("type") in ("integer", "number"):
            schema[word] = facts[name]
    return schema
