"""CONTROL. JSON Schema of the API's requests and responses: functions to write it, and a check of
requests.

Schemas of requests use only the keywords that :func:`problem` supports: ``type``, ``enum``,
``minimum``, ``maximum``, ``maxLength``, ``properties``, ``required``, ``additionalProperties:
false``.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

__all__ = [
    "ANY",
    "BOOLEAN",
    "COUNT",
    "MAYBE_STRING",
    "NUMBER",
    "SCALAR",
    "STRING",
    "Schema",
    "array",
    "enum",
    "integer",
    "mapping",
    "maybe",
    "object_",
    "page",
    "problem",
    "string",
]

Schema = dict[str, Any]

ANY: Schema = {}
STRING: Schema = {"type": "string"}
MAYBE_STRING: Schema = {"type": ["string", "null"]}
NUMBER: Schema = {"type": "number"}
SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}


def string(doc: str, most: int = 1000) -> Schema:
    """Return the schema of a text of at most ``most`` characters."""
    return {"type": "string", "maxLength": most, "description": doc}


def integer(doc: str, low: int, high: int, default: int | None = None) -> Schema:
    """Return the schema of a whole number between two inclusive bounds."""
    schema: Schema = {"type": "integer", "minimum": low, "maximum": high, "description": doc}
    return schema if default is None else {**schema, "default": default}


def enum(doc: str, *words: str) -> Schema:
    """Return the schema of a choice of words."""
    return {"type": "string", "enum": list(words), "description": doc}


def array(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def mapping(values: Schema) -> Schema:
    """Return the schema of an object whose keys are names."""
    return {"type": "object", "additionalProperties": values}


def maybe(schema: Schema) -> Schema:
    """Return ``schema`` with null allowed."""
    return {**schema, "type": [schema["type"], "null"]}


def object_(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, doc: str = ""
) -> Schema:
    """Return the schema of an object with only these keys."""
    schema: Schema = {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }
    if required:
        schema["required"] = list(required)
    return {**schema, "description": doc} if doc else schema


def page(items: Schema) -> Schema:
    """Return the schema of a part of a long list. ``next`` is the offset of the next part, null at
    the end.
    """
    return object_(
        {
            "items": array(items),
            "total": COUNT,
            "offset": COUNT,
            "next": {"type": ["integer", "null"], "description": "offset of the next page"},
        }
    )


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "number": (int, float),
    "array": (list,),
}


def problem(value: Any, schema: Schema, name: str = "the body") -> str:
    """Return what is wrong with ``value``, or ""."""
    wanted = schema.get("type")
    if isinstance(wanted, str):
        right = isinstance(value, _TYPES[wanted])
        if isinstance(value, bool) and wanted != "boolean":
            right = False
        if not right:
            return f"{name} is not {'an' if wanted[0] in 'aio' else 'a'} {wanted}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{name} is not one of {', '.join(schema['enum'])}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"{name} is less than {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        return f"{name} is more than {schema['maximum']}"
    if len(value) > schema["maxLength"] if "maxLength" in schema else False:
        return f"{name} has more than {schema['maxLength']} characters"
    if wanted == "array":
        return next((wrong for one in value if (wrong := problem(one, schema["items"], name))), "")
    return _members(value, schema) if wanted == "object" else ""


def _members(value: dict[str, Any], schema: Schema) -> str:
    known: dict[str, Schema] = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            return f"{key} is missing: {known[key].get('description', 'see openapi.json')}"
    for key, item in value.items():
        if key not in known:
            near = get_close_matches(key[:100], known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
            return f"unknown key {key[:100]!r}{hint}"
        wrong = problem(item, known[key], key)
        if wrong:
            return wrong
    return ""
