"""PURE. Functions on lists of header lines, for heads that a filter has changed."""

from __future__ import annotations

from mypy_extensions import i64

from lbproxy.http.known import FieldName, field_name

__all__ = ["Headers", "every_value", "first_value", "less", "outside"]

Headers = list[tuple[bytes, bytes]]
"""Header lines in the order of arrival; repeated names stay separate lines."""


def first_value(headers: Headers, name: FieldName) -> bytes | None:
    """Return the first value of ``name``, or None."""
    low = name.low
    for key, value in headers:
        if len(key) == name.size and key.lower() == low:
            return value
    return None


def every_value(headers: Headers, name: FieldName) -> list[bytes]:
    """Return every value of ``name``, in order."""
    low = name.low
    found: list[bytes] = []
    for key, value in headers:
        if len(key) == name.size and key.lower() == low:  # most names differ in length
            found.append(value)
    return found


def less(headers: Headers, name: FieldName) -> Headers:
    """Return the lines except those of ``name``."""
    low = name.low
    left: Headers = []
    for pair in headers:
        if len(pair[0]) != name.size or pair[0].lower() != low:
            left.append(pair)
    return left


def outside(headers: Headers, numbers: i64) -> Headers:
    """Return the lines whose known names are not in the set ``numbers``."""
    return [pair for pair in headers if not numbers >> field_name(pair[0]).number & 1]
