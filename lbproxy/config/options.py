"""PURE. The grammar of options: conversion of words to fields of an attrs class, and back.

Lines of ``servers``, ``listen`` and ``check`` use it, and the Options of balancers, filters and
probes. ``key=value`` sets a key, the bare name of a flag turns it on, and other words fill the
positional fields in order. A quoted word is never read as a key or a flag.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
from attrs import Attribute, define

from lbproxy.config import units
from lbproxy.config.errors import Problems, nearest_word
from lbproxy.config.foreign import foreign_option
from lbproxy.config.masking import is_secret
from lbproxy.config.words import Word, quote
from lbproxy.model import Where
from lbproxy.model.secrets import mask_text, secret_name

__all__ = [
    "Spot",
    "construct",
    "dump_options",
    "field_default",
    "label",
    "option_fields",
    "read_options",
]

Fields = Mapping[str, "Attribute[Any]"]


@define
class Spot:
    """A position in the text, for errors about it. ``failed``: whether there were any."""

    problems: Problems
    section: str
    key: str
    where: Where
    base_dir: str = ""
    failed: bool = False

    def wrong(self, message: str, *, found: str = "", known: Sequence[str] = ()) -> None:
        """Report an error here."""
        self.failed = True
        self.problems.add(self.where, self.section, self.key, message, found=found, known=known)

    def caught(self, error: Exception, prefix: str = "") -> None:
        """Report an exception of a parser; ``prefix`` is the option's name."""
        self.failed = True
        key = f"{self.key}: {prefix}" if prefix else self.key
        self.problems.add_exception(self.where, self.section, key, error)

    def hide(self, secret: str) -> None:
        """Remove ``secret`` from all errors about this line."""
        self.problems.hide(self.where, secret)

    def at(self, where: Where, section: str = "") -> Spot:
        """Return the position of another line of the same key.

        ``section``: header under which it was written, if that is another one.
        """
        return Spot(self.problems, section or self.section, self.key, where, self.base_dir)


def option_fields(cls: type[Any]) -> dict[str, Attribute[Any]]:
    """Return the fields of ``cls`` that users can write, in order.

    TypeError if it is no attrs class.
    """
    return {f.name: f for f in attrs.fields(cls) if f.metadata.get("kind", "hidden") != "hidden"}


def label(f: Attribute[Any]) -> str:
    """Return the name of a field that users see."""
    return str(f.metadata.get("label", f.name))


def _positional(fields: Fields) -> list[Attribute[Any]]:
    return [f for f in fields.values() if f.metadata.get("positional")]


def _keyed(fields: Fields) -> dict[str, Attribute[Any]]:
    return {name: f for name, f in fields.items() if not f.metadata.get("positional")}


def read_options(
    cls: type[Any],
    words: Iterable[Word],
    spot: Spot,
    *,
    extra: Sequence[str] = (),
    foreign: bool = False,
) -> dict[str, Any]:
    """Return the field values in ``words``; errors go to ``spot``. Defaults are not filled in.

    ``extra``: further words that the caller accepts on the same line, for "did you mean".
    ``foreign``: explains words of other programs (:mod:`lbproxy.config.foreign`).
    """
    return _Reader(option_fields(cls), spot, extra, foreign).read(words)


class _Reader:
    """State of one :func:`read_options`."""

    def __init__(self, fields: Fields, spot: Spot, extra: Sequence[str], foreign: bool) -> None:
        self.keyed = _keyed(fields)
        self.slots = _positional(fields)
        self.spot = spot
        self.known = (*self.keyed, *extra)
        self.fields = fields
        self.foreign = foreign
        self.values: dict[str, Any] = {}
        self.texts: dict[str, str] = {}  # the last word of each field
        self.secret = ""  # the previous word, if it set a secret option

    def read(self, words: Iterable[Word]) -> dict[str, Any]:
        for word in words:
            self._word(word)
        for f in self.fields.values():
            if is_secret(f, self.fields, self.texts.get):
                self.spot.hide(self.texts[f.name])
        for f in (*self.slots, *self.keyed.values()):
            if f.default is attrs.NOTHING and f.name not in self.values:
                self.spot.wrong(f"{label(f)} is missing: {f.metadata['doc']}")
                self.values[f.name] = None
        return self.values

    def _word(self, word: Word) -> None:
        pair = word.option()
        before, self.secret = self.secret, ""
        if before and pair is None and not self._is_flag(word.text):
            self.spot.hide(word.text.lstrip("="))  # from "password x", or "password = x y"
            self.secret = before
        elif pair is None and word.is_bare and self._looks_secret(word.text):
            self.secret = word.text
        if pair is not None and self._looks_secret(pair[0]):
            self.spot.hide(pair[1])
            self.secret = pair[0]
        if pair is not None and pair[0] in self.keyed:
            self._set(self.keyed[pair[0]], pair[1])
        elif word.is_bare and self._is_flag(word.text):
            self._set(self.keyed[word.text], "yes")
        elif pair is not None and self._looks_misspelt(pair[0]):
            self._unknown(pair[0])
        elif self.slots:
            self._fill(word)
        elif before and pair is None and word.text != "=" and before in self.values:
            self.spot.wrong(f"{before} has more than one word; quote text with spaces")
        else:
            self._unknown(pair[0] if pair else word.text)

    def _looks_secret(self, key: str) -> bool:
        """Return whether ``key`` is secret, or a misspelt secret key."""
        near = self.fields.get(key) or self.fields.get(nearest_word(key, self.known))
        return secret_name(key) or (
            near is not None and is_secret(near, self.fields, lambda name: "x")
        )

    def _is_flag(self, text: str) -> bool:
        return text in self.keyed and self.keyed[text].metadata["kind"] == "flag"

    def _looks_misspelt(self, key: str) -> bool:
        return not self.slots or bool(nearest_word(key, self.known))

    def _unknown(self, text: str) -> None:
        if text in self.keyed:
            self.spot.wrong(f"option {text!r} needs a value: {text}=...", found=text)
        elif self.foreign and foreign_option(text):
            self.spot.wrong(f"unknown option {text!r}; {foreign_option(text)}")
        elif self.known:
            self.spot.wrong(f"unknown option {text!r}", found=text, known=self.known)
        else:
            self.spot.wrong(f"unexpected word {text!r}", found=text)

    def _fill(self, word: Word) -> None:
        f = self.slots[0]
        if f.metadata["positional"] != "rest":
            self.slots.pop(0)
            self._set(f, word.text)
            return
        self._note(f, word.text)
        value = self._value(f, f.metadata["kind"].removeprefix("list:"), word.text)
        self.values[f.name] = (*self.values.get(f.name, ()), value)

    def _set(self, f: Attribute[Any], text: str) -> None:
        if f.name in self.values:
            self.spot.wrong(f"option {f.name!r} is given twice", found=f.name)
            return
        self._note(f, text)
        self.values[f.name] = self._value(f, f.metadata["kind"], text)

    def _note(self, f: Attribute[Any], text: str) -> None:
        self.texts[f.name] = text
        masked = mask_text(text)
        if masked != text:
            self.spot.hide(text)

    def _value(self, f: Attribute[Any], kind: str, text: str) -> Any:
        try:
            return units.parse(kind, text, f.metadata, self.spot.base_dir)
        except Exception as error:
            self.spot.caught(error, label(f))
            return None


def construct(cls: type[Any], values: Mapping[str, Any], spot: Spot, what: str) -> Any:
    """Create ``cls`` from field values; None if its own validators raise, with the error in
    ``spot``.
    """
    alias = {f.name: f.alias for f in attrs.fields(cls)}
    try:
        return cls(**{str(alias[name]): value for name, value in values.items()})
    except ValueError as error:
        spot.caught(error, what)
    except Exception as error:
        spot.wrong(f"{what}: its Options raised {type(error).__name__}: {error}")
    return None


def field_default(f: Attribute[Any]) -> Any:
    """Return the value of a field that is not written."""
    default: Any = f.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return None if default.takes_self else default.factory()
    return default


def dump_options(spec: Any, reserved: Collection[str] = ()) -> list[str]:
    """Return the words from which :func:`read_options` reads ``spec``, without defaults.

    ``reserved`` words have another meaning on this line, so they are quoted.
    """
    fields = option_fields(type(spec))
    taken = {*_keyed(fields), *reserved}
    out = _dump_positional(spec, _positional(fields), taken)
    for name, f in _keyed(fields).items():
        value = getattr(spec, name)
        if value == field_default(f):
            continue
        if f.metadata["kind"] == "flag" and value:
            out.append(name)
        else:
            out.append(f"{name}={quote(units.dump(f.metadata['kind'], value))}")
    return out


def _dump_positional(spec: Any, slots: list[Attribute[Any]], taken: Collection[str]) -> list[str]:
    used = [f for f in slots if getattr(spec, f.name) != field_default(f)]
    slots = slots[: slots.index(used[-1]) + 1] if used else []
    out: list[str] = []
    for f in slots:
        kind, value = f.metadata["kind"], getattr(spec, f.name)
        if f.metadata["positional"] == "rest":
            texts = [units.dump(kind.removeprefix("list:"), one) for one in value]
        else:
            texts = [units.dump(kind, value)]
        out.extend(quote(t, force="=" in t or "->" in t or t in taken) for t in texts)
    return out
