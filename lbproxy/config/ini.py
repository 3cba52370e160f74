"""PURE. Parses INI text into sections, keys and lines, each with its position.

:mod:`lbproxy.config.build` calls it.

The grammar:

1.  ``[kind]`` or ``[kind name]`` in the first column begins a section.
2.  ``key = value`` in the first column; the key ends at the first ``=``.
3.  A line that begins with white space is one more line of the key above it. Blank lines and
    comments between them are ignored. A key has as many items as it has lines with text.
4.  A line whose first character (after white space) is ``#`` or ``;`` is a comment. So is the rest
    of a line after white space and ``#``, outside of quotes. A quote that is not closed on its line
    does not hide a comment.
5.  ``${NAME}`` and ``${NAME:-default}`` in a value are replaced from the environment; ``$${`` is a
    plain ``${``.
6.  ``include = FILE`` (also a glob, also several lines) is allowed only before the first section.
    It is relative to the including file; its sections follow those of the including file. Every
    file is read once; a cycle is an error.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping

from attrs import define, field, frozen

from lbproxy.config.errors import Problems, Unfit
from lbproxy.config.foreign import foreign_key
from lbproxy.config.linetext import strip_comment, substitute, substitute_words
from lbproxy.config.words import split
from lbproxy.model import Where
from lbproxy.model.secrets import mask_text

__all__ = ["FileReader", "IniEntry", "IniSection", "Item", "read_ini"]

MAX_DEPTH = 16
"""Maximum depth of nested includes."""

MAX_FILES = 1000
"""Maximum number of files of one configuration."""

_WITHOUT_EQUALS = re.compile(r"([a-z][a-z0-9_]*)\s+([^={}\s][^={}]*?)\s*;?")
_HEADER = re.compile(r"\[([^\]]*)\](.*)", re.DOTALL)


@frozen
class Item:
    """One line of a value, without comment and with variables replaced.

    ``text`` is split into words: in it, a variable whose value has several words is quoted.
    ``plain`` is the same line as one text, None if it begins with a quote. ``broken``: a variable
    could not be replaced, which has been reported; ``text`` is then as written. ``section``: the
    header under which it was written, if that is another one.
    """

    text: str
    where: Where
    broken: bool = False
    plain: str | None = None
    section: str = ""


@define
class IniEntry:
    """``key = ...`` with its lines.

    ``section``: the header under which it was written, if that is another one. ``inherited``: mode
    of the ``[defaults]`` it comes from, "any" for both modes, "" for none.
    """

    key: str
    where: Where
    items: list[Item] = field(factory=list)
    section: str = ""
    inherited: str = ""


@define
class IniSection:
    """``[kind name]``.

    ``title``: header without brackets. ``shown``: the header under which it was written instead.
    """

    kind: str
    name: str
    where: Where
    entries: list[IniEntry] = field(factory=list)
    shown: str = ""

    @property
    def title(self) -> str:
        """The section's name in errors."""
        return self.shown or f"{self.kind} {self.name}".strip()


@frozen
class FileReader:
    """Access to files; tests pass their own.

    ``read(path)`` raises OSError or UnicodeDecodeError. ``glob(pattern)`` returns sorted paths.
    """

    read: Callable[[str], str]
    glob: Callable[[str], list[str]]


def _foreign(line: str) -> str:
    """Return the suffix of an error about a line that another program would accept."""
    here = foreign_key(line)
    if here:
        return f"; {here}"
    found = _WITHOUT_EQUALS.fullmatch(mask_text(line))
    return f"; write '{found[1]} = {found[2]}'" if found else ""


class _FileParser:
    """Parses the lines of one file."""

    def __init__(self, file: str, env: Mapping[str, str], problems: Problems) -> None:
        self.file, self.env, self.problems = file, env, problems
        self.sections: list[IniSection] = []
        self.includes: list[IniEntry] = []
        self.section: IniSection | None = None
        self.entry: IniEntry | None = None
        self.block: IniEntry | None = None
        """The last key, if no value follows on its own line, as in ``servers =``."""
        self.loose = False
        """Whether the last line belonged to the block but was not indented."""

    def parse(self, text: str) -> None:
        for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            line = raw.rstrip("\r")
            plain = line.strip()
            if not plain or plain[0] in "#;":
                continue
            where = Where(self.file, number)
            if line[0].isspace():
                self._more(plain, where)
            elif line[0] == "[":
                self._header(line, where)
            else:
                self._key(line, where)

    def _title(self) -> str:
        return self.section.title if self.section else ""

    def _wrong(self, where: Where, message: str, key: str = "", **more: str) -> None:
        self.problems.add(where, self._title(), key, message, **more)

    def _more(self, line: str, where: Where) -> None:
        if self.entry is None:
            self._wrong(
                where,
                f"{mask_text(line)!r} begins with white space, but no key precedes it; "
                "sections and keys begin in the first column" + _foreign(line),
            )
            return
        self.loose = False
        self._value(line, where)

    def _header(self, line: str, where: Where) -> None:
        self.entry = self.block = None
        # An invalid header still begins a section without a name, so that its keys do not go to the
        # previous one.
        self.section = IniSection("", "", where)
        found = _HEADER.fullmatch(strip_comment(line))
        if not found or found[2].strip():
            self._wrong(where, f"{line!r} is not a section header such as [backend app]")
            return
        words = found[1].split()
        if not words or len(words) > 2:
            self._wrong(where, f"{line!r} is not a section header such as [backend app]")
            return
        self.section = IniSection(words[0], words[1] if len(words) == 2 else "", where)
        self.sections.append(self.section)

    def _key(self, line: str, where: Where) -> None:
        key, equals, rest = line.partition("=")
        key = key.strip()
        if self._unindented(line, key if equals else "", where):
            return
        self.entry = IniEntry(key, where)
        if not equals or not key:
            message = f"{mask_text(line)!r} is neither a section header nor 'key = value'"
            hint = _foreign(line)
            if hint and self.block is not None:
                hint += f", or indent it if it belongs to {self.block.key!r}"
            self._wrong(where, message + hint)
            return
        self._value(rest, where)
        self.block = None if self.entry.items else self.entry
        if key == "include":
            if self.section is None:
                self.includes.append(self.entry)
            else:
                self._wrong(where, "must stand before the first section", key)
        elif self.section is None:
            self._wrong(where, "stands before the first section", key)
        else:
            self.section.entries.append(self.entry)

    def _unindented(self, line: str, key: str, where: Where) -> bool:
        """Report a line that should be indented, and add it to the block above.

        No key contains white space. A line without ``=`` belongs to the block if the block has no
        lines yet, or only such lines. :func:`_foreign` handles words of other programs.
        """
        block = self.block
        if block is None or foreign_key(line):
            return False
        if len(key.split()) < 2 if key else block.items and not self.loose:
            return False
        self.loose = True
        shown = mask_text(strip_comment(line))
        self._wrong(where, f"{shown!r} belongs to {block.key!r} above: indent it", block.key)
        self.entry = block
        self._value(line, where)
        return True

    def _value(self, text: str, where: Where) -> None:
        assert self.entry is not None
        plain = strip_comment(text)
        if not plain:
            return
        quoted = plain[0] in "\"'"
        try:
            text = substitute_words(plain, self.env).strip()
            whole = None if quoted else substitute(plain, self.env).strip()
        except Unfit as error:
            self.problems.add_exception(where, self._title(), self.entry.key, error)
            self.entry.items.append(Item(plain, where, broken=True))
            return
        if text:
            self.entry.items.append(Item(text, where, plain=whole))


class _Loader:
    """Parses a file and its includes."""

    def __init__(self, reader: FileReader, env: Mapping[str, str], problems: Problems) -> None:
        self.reader, self.env, self.problems = reader, env, problems
        self.sections: list[IniSection] = []
        self.seen: set[str] = set()

    def text(self, text: str, file: str, folder: str, stack: tuple[str, ...]) -> None:
        parser = _FileParser(file, self.env, self.problems)
        parser.parse(text)
        self.sections.extend(parser.sections)
        for entry in parser.includes:
            for item in entry.items:
                for path in self._paths(item, folder):
                    self._file(path, item.where, stack)

    def _paths(self, item: Item, folder: str) -> list[str]:
        try:
            names = [word.text for word in split(item.text)]
        except Unfit as error:
            self.problems.add_exception(item.where, "", "include", error)
            return []
        paths: list[str] = []
        for name in names:
            pattern = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118
            if "\0" in pattern:
                self.problems.add(item.where, "", "include", f"{name!r} is not a path")
            elif any(c in pattern for c in "*?["):
                paths.extend(self.reader.glob(pattern))
            else:
                paths.append(pattern)
        return paths

    def _file(self, path: str, where: Where, stack: tuple[str, ...]) -> None:
        if path in stack:
            chain = " -> ".join((*stack[stack.index(path) :], path))
            self.problems.add(where, "", "include", f"files include one another: {chain}")
        elif path in self.seen:
            self.problems.add(where, "", "include", f"{path} is included twice")
        elif len(stack) >= MAX_DEPTH or len(self.seen) >= MAX_FILES:
            self.problems.add(where, "", "include", f"{path}: too many files, or nested too deep")
        else:
            self.seen.add(path)
            try:
                text = self.reader.read(path)
            except OSError as error:
                reason = error.strerror or str(error)
                self.problems.add(where, "", "include", f"cannot read {path}: {reason}", found=path)
            except UnicodeDecodeError:
                self.problems.add(where, "", "include", f"{path} is not UTF-8 text", found=path)
            else:
                self.text(text, path, os.path.dirname(path), (*stack, path))  # noqa: PTH120


def read_ini(
    text: str,
    *,
    file: str,
    folder: str,
    env: Mapping[str, str],
    reader: FileReader,
    problems: Problems,
) -> list[IniSection]:
    """Return the sections of ``text`` and of its includes; errors go to ``problems``.

    Includes in ``text`` are relative to ``folder``.
    """
    loader = _Loader(reader, env, problems)
    own = os.path.normpath(os.path.join(folder, os.path.basename(file)))  # noqa: PTH118, PTH119
    loader.text(text, file, folder, (own,))
    return loader.sections
