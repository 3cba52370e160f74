"""PURE. Macro sections, which are rewritten into other sections before anything is read.

Each kind is one :class:`Macro` in :mod:`lbproxy.config.sections`. Lines keep their positions and
the header under which they were written, so errors refer to those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import evolve, frozen

from lbproxy.config.addresses import parse_name
from lbproxy.config.errors import Problems, Unfit
from lbproxy.config.foreign import foreign_key
from lbproxy.config.ini import IniEntry, IniSection, Item
from lbproxy.config.words import Word, quote, split
from lbproxy.model import Where

__all__ = ["Expansion", "Macro", "line_of", "moved", "words_of"]


@frozen
class Macro:
    """A kind of section that is rewritten.

    ``expand`` removes its sections from the expansion and changes others. ``keys``: an attrs class
    with its own keys, for the reference. ``optional``: the name may be missing.
    """

    kind: str
    doc: str
    expand: Callable[[Expansion], None]
    keys: type[Any] | None = None
    optional: bool = False

    @property
    def title(self) -> str:
        """The header in the reference."""
        return f"[{self.kind}] or [{self.kind} NAME]" if self.optional else f"[{self.kind} NAME]"


class Expansion:
    """The sections of a configuration while macros rewrite them.

    ``fields(kind)`` returns the keys of the sections of a kind.
    """

    def __init__(
        self,
        sections: Iterable[IniSection],
        problems: Problems,
        fields: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self.sections = list(sections)
        self.problems, self.fields = problems, fields

    def take(self, macro: Macro) -> list[IniSection]:
        """Remove and return the sections of ``macro``, except those with an invalid header."""
        mine = [section for section in self.sections if section.kind == macro.kind]
        self.sections = [section for section in self.sections if section.kind != macro.kind]
        found: dict[str, IniSection] = {}
        for section in mine:
            if not section.name and not macro.optional:
                message = f"a {macro.kind} needs a name: [{macro.kind} NAME]"
                self.wrong(section, section.where, "", message)
            elif section.name in found:
                first = found[section.name].where
                message = f"this section is already defined, at {first}"
                self.wrong(section, section.where, "", message)
            elif self._named(section):
                found[section.name] = section
        return list(found.values())

    def _named(self, section: IniSection) -> bool:
        try:
            if section.name:
                parse_name(section.name)
        except Unfit as error:
            self.wrong(section, section.where, "", str(error))
            return False
        return True

    def keys(self, section: IniSection, known: Iterable[str]) -> dict[str, IniEntry]:
        """Return the entries of ``section`` by key; report unknown and repeated ones."""
        words = tuple(known)
        found: dict[str, IniEntry] = {}
        for entry in section.entries:
            if entry.key in found:
                message = f"given twice, first at {found[entry.key].where}"
                self.wrong(section, entry.where, entry.key, message)
            elif entry.key not in words:
                message, here = f"unknown key {entry.key!r}", foreign_key(entry.key)
                if here:
                    self.wrong(section, entry.where, entry.key, f"{message}; {here}")
                    continue
                self.wrong(section, entry.where, entry.key, message, found=entry.key, known=words)
            else:
                found[entry.key] = entry
        return found

    def find(self, kind: str, name: str) -> IniSection | None:
        """Return the section ``[kind name]``."""
        for section in self.sections:
            if (section.kind, section.name) == (kind, name):
                return section
        return None

    def names(self, kind: str) -> list[str]:
        """Return the names of the sections of one kind."""
        return [section.name for section in self.sections if section.kind == kind]

    def wrong(self, section: IniSection, where: Where, key: str, message: str, **more: Any) -> None:
        """Report an error in ``section``."""
        self.problems.add(where, section.title, key, message, **more)

    def words(self, section: IniSection, entry: IniEntry) -> list[tuple[str, Where]]:
        """Return the words of a list, each with its position."""
        found: list[tuple[str, Where]] = []
        for item in entry.items:
            try:
                found += [(word.text, item.where) for word in split(item.text, ",")]
            except Unfit as error:
                self.problems.add_exception(item.where, section.title, entry.key, error)
        return found


def moved(entry: IniEntry, section: IniSection, **changes: Any) -> IniEntry:
    """Return ``entry`` as a part of another section."""
    items = [evolve(item, section=item.section or section.title) for item in entry.items]
    return evolve(entry, items=items, section=entry.section or section.title, **changes)


def words_of(item: Item) -> list[Word]:
    """Return the words of a line; none if it cannot be split, which is reported when it is read."""
    try:
        return split(item.text)
    except Unfit:
        return []


def line_of(words: Iterable[Word]) -> str:
    """Return a line of ``words``, with the same quoting."""
    out = []
    for word in words:
        pair = word.option()
        if word.is_bare:
            out.append(word.text)
        elif pair is not None:
            out.append(f"{pair[0]}={quote(pair[1], force=True)}")
        else:
            out.append(quote(word.text, force=True))
    return " ".join(out)
