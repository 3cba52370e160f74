r"""PURE. Splits a value into words, and quotes words so that they split again.

White space separates words. ``'...'`` is literal. In ``"..."`` the escapes ``\" \\ \n \t \r`` stand
for their character, and any other backslash for itself. Outside of quotes a backslash is an
ordinary character, so that patterns need no doubling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import field, frozen

from lbproxy.config.errors import Unfit

__all__ = ["Word", "comma_items", "quote", "split"]

ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
_BACK = {value: "\\" + key for key, value in ESCAPES.items()}
_PLAIN = re.compile(r"[A-Za-z0-9_./:~*^+?@%&!<>(){}\[\]|\\=-]+")
_OPTION = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)=")


@frozen
class Word:
    """One word. ``text``: without its quotes. ``column``: from 1.

    ``bare`` is the part before the first quote. Only there can ``key=`` or a keyword stand, so that
    quoting a word always makes it plain text.
    """

    text: str
    column: int = field(default=1, eq=False)
    bare: str = ""

    @property
    def is_bare(self) -> bool:
        """True if no part of the word is quoted."""
        return self.bare == self.text

    def option(self) -> tuple[str, str] | None:
        """Return (key, value) if the word is ``key=value`` with an unquoted key, else None."""
        found = _OPTION.match(self.bare)
        return (found[1], self.text[found.end() :]) if found else None


def _quoted(text: str, start: int) -> tuple[str, int]:
    """Return the content of the quotes that open at ``start``, and the index after them."""
    mark, i = text[start], start + 1
    out: list[str] = []
    while i < len(text):
        c = text[i]
        if c == mark:
            return "".join(out), i + 1
        if c == "\\" and mark == '"' and text[i + 1 : i + 2] in ESCAPES:
            out.append(ESCAPES[text[i + 1]])
            i += 2
            continue
        out.append(c)
        i += 1
    raise Unfit(f"the quote {mark} at column {start + 1} is never closed")


def split(text: str, separators: str = "") -> list[Word]:
    """Return the words of ``text``. ``separators``: characters that separate words besides white
    space.

    Raises :class:`Unfit` for a quote that is not closed.
    """
    words: list[Word] = []
    i, size = 0, len(text)
    while i < size:
        if text[i].isspace() or text[i] in separators:
            i += 1
            continue
        start = i
        out: list[str] = []
        bare: str | None = None
        while i < size and not (text[i].isspace() or text[i] in separators):
            if text[i] in "\"'":
                if bare is None:
                    bare = "".join(out)
                inner, i = _quoted(text, i)
                out.append(inner)
            else:
                out.append(text[i])
                i += 1
        whole = "".join(out)
        words.append(Word(whole, start + 1, whole if bare is None else bare))
    return words


def comma_items(text: str) -> list[str]:
    """Return the items of a list separated by commas, white space or both. ``""`` is an empty
    item.
    """
    return [word.text for word in split(text, ",")]


def quote(text: str, *, force: bool = False) -> str:
    """Return ``text`` as one word that :func:`split` reads again. ``force``: add quotes even if
    they are not needed.
    """
    if not force and _PLAIN.fullmatch(text):
        return text
    return '"' + "".join(_BACK.get(c, c) for c in text) + '"'


def join(items: Iterable[str], separator: str = " ") -> str:
    """Return the items, quoted where necessary, as a list that :func:`comma_items` reads again."""
    return separator.join(quote(item) for item in items)
