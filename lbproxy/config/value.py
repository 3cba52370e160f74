"""PURE. The value of a key: how it is read from its lines, written back and described.

:func:`value_kind` returns the reader of a field's kind. There are four shapes: one word or text
(``int``, ``duration`` and the other :data:`lbproxy.config.units.KINDS`), a list of them
(``list:KIND``), one line (``line:NAME``) and several lines (``lines:NAME``) of a class in
:data:`lbproxy.config.lines.LINES`. Only this module distinguishes the shapes.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from lbproxy.config import units
from lbproxy.config.errors import Unfit
from lbproxy.config.ini import IniEntry, Item
from lbproxy.config.line import Line, Scope
from lbproxy.config.lines import LINES
from lbproxy.config.options import Spot
from lbproxy.config.words import Word, quote, split
from lbproxy.model import Where

__all__ = ["ValueKind", "read_words", "value_kind", "value_lines"]

Facts = Mapping[str, Any]

_PLAIN = re.compile(r"[A-Za-z0-9_./:\[\]-]+( [A-Za-z0-9_./:\[\]-]+)*")


class ValueKind(ABC):
    """One shape of value."""

    separate = False
    """Whether each line is independent, so that valid lines are checked further if others have
    errors.
    """

    @abstractmethod
    def read(self, entry: IniEntry, facts: Facts, spot: Spot, scope: Scope) -> Any:
        """Return the value of ``entry``. Errors go to ``spot``; the result is then invalid."""

    @abstractmethod
    def dump(self, value: Any) -> list[str]:
        """Return the lines that :meth:`read` reads as ``value``."""

    def parts(self, value: Any) -> list[str]:
        """Return the lines as :meth:`dump`, but with one item of a list per line, for
        comparisons.
        """
        return [] if value is None else self.dump(value)

    @abstractmethod
    def describe(self, facts: Facts) -> str:
        """Return the kind in words, for the reference."""

    @abstractmethod
    def describe_default(self, value: Any) -> str:
        """Return the default ``value`` of a key in words, for the reference."""


class _One(ValueKind):
    """A value of a single line."""

    empty = "has no value"

    def read(self, entry: IniEntry, facts: Facts, spot: Spot, scope: Scope) -> Any:
        if not entry.items:
            spot.wrong(self.empty)
            return None
        if len(entry.items) > 1:
            spot.at(entry.items[1].where).wrong(
                "takes one value; a line that begins with white space belongs to the key above it"
            )
            return None
        item = entry.items[0]
        return self.read_item(item, facts, spot.at(item.where, item.section), scope)

    @abstractmethod
    def read_item(self, item: Item, facts: Facts, spot: Spot, scope: Scope) -> Any:
        """Return the value of the line ``item``."""


class _Plain(_One):
    """A number, a duration, a path or a text."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        if kind == "string":
            self.empty = 'has no value; write "" for an empty text'

    def read_item(self, item: Item, facts: Facts, spot: Spot, scope: Scope) -> Any:
        try:
            text = _unquoted(item.text) if item.plain is None else item.plain
            if facts.get("secret") or (self.kind == "secret" and not text.startswith("file:")):
                spot.hide(text)
            return units.parse(self.kind, text, facts, spot.base_dir)
        except Unfit as error:
            spot.caught(error)
            return None

    def parts(self, value: Any) -> list[str]:
        return self.dump(value) if value is not None or units.KINDS[self.kind].none else []

    def dump(self, value: Any) -> list[str]:
        text = units.dump(self.kind, value)
        return [text if _PLAIN.fullmatch(text) else quote(text, force=True)]

    def describe(self, facts: Facts) -> str:
        return units.describe(self.kind, facts)

    def describe_default(self, value: Any) -> str:
        return units.describe_default(self.kind, value)


class _List(ValueKind):
    """Items separated by commas or white space, over any number of lines."""

    def __init__(self, kind: str) -> None:
        self.kind, self.item = kind, kind.removeprefix("list:")

    def read(self, entry: IniEntry, facts: Facts, spot: Spot, scope: Scope) -> Any:
        found: list[Any] = []
        for item in entry.items:
            try:
                found += units.parse(self.kind, item.text, facts, spot.base_dir)
            except Unfit as error:
                spot.at(item.where, item.section).caught(error)
        return tuple(found)

    def parts(self, value: Any) -> list[str]:
        return [quote(units.dump(self.item, item)) for item in value]

    def dump(self, value: Any) -> list[str]:
        items = " ".join(self.parts(value))
        return [items] if items else []

    def describe(self, facts: Facts) -> str:
        return units.describe(self.kind, facts)

    def describe_default(self, value: Any) -> str:
        return units.describe_default(self.kind, value)


class _Line(_One):
    """One line with its own syntax."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def line(self) -> Line:
        return LINES[self.name]

    def read_item(self, item: Item, facts: Facts, spot: Spot, scope: Scope) -> Any:
        words = read_words(item.text, spot)
        return None if words is None else self.line.read(words, spot, scope)

    def dump(self, value: Any) -> list[str]:
        return [self.line.dump(value)]

    def describe(self, facts: Facts) -> str:
        return self.line.words

    def describe_default(self, value: Any) -> str:
        return self.line.default(value)


class _Lines(ValueKind):
    """Any number of such lines."""

    separate = True

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def line(self) -> Line:
        return LINES[self.name]

    def read(self, entry: IniEntry, facts: Facts, spot: Spot, scope: Scope) -> Any:
        found: list[Any] = []
        names: dict[str, Where] = {}
        empty = facts.get("empty")
        if empty is not None:
            if not entry.items:
                spot.wrong(f"has no lines; write {empty} if that is intended")
            if [item.text for item in entry.items] == [empty]:
                return ()
        for item in entry.items:
            at = spot.at(item.where, item.section)
            words = None if item.broken else read_words(item.text, at)
            start = words[0].text if words else item.text.partition(" ")[0]
            if self.line.unique and start:
                self._note_name(start, item.where, names, at)
            made = None if words is None else self.line.read(words, at, scope)
            if made is not None:
                found.append(made)
        return tuple(found)

    def _note_name(self, name: str, where: Where, names: dict[str, Where], spot: Spot) -> None:
        """Report a name that an earlier line has, even if that line has an error."""
        first = names.setdefault(name, where)
        if first is not where:
            spot.wrong(f"{self.line.name} {name!r} is already defined, at {first}", found=name)

    def dump(self, value: Any) -> list[str]:
        return [self.line.dump(spec) for spec in value]

    def describe(self, facts: Facts) -> str:
        return self.line.words

    def describe_default(self, value: Any) -> str:
        return self.line.default(value)


@cache
def value_kind(kind: str) -> ValueKind:
    """Return the reader of ``kind`` (see :func:`lbproxy.model.base.option`).

    Raises KeyError for an unknown class of line.
    """
    shape, _, name = kind.partition(":")
    if shape in ("line", "lines") and name not in LINES:
        raise KeyError(kind)
    if shape == "lines":
        return _Lines(name)
    if shape == "line":
        return _Line(name)
    return _List(kind) if shape == "list" else _Plain(kind)


def value_lines(kind: str, value: Any) -> list[str]:
    """Return the lines of one value."""
    return value_kind(kind).dump(value)


def read_words(text: str, spot: Spot) -> Sequence[Word] | None:
    """Return the words of ``text``, or None with the error reported."""
    try:
        return split(text)
    except Unfit as error:
        spot.caught(error)
        return None


def _unquoted(text: str) -> str:
    """Return a value that is one quoted word without its quotes, and any other value unchanged."""
    if text[0] not in "\"'":
        return text
    words = split(text)
    return words[0].text if len(words) == 1 and not words[0].bare else text
