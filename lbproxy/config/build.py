"""PURE. Conversion of text to :class:`lbproxy.model.Config`, or to a list of all its errors.

:mod:`lbproxy.registry` calls :func:`load` and :func:`parse`, and passes the function that finds the
class of a plugin. Files are accessed through :class:`Files`, so tests need none.
"""

from __future__ import annotations

import glob as _glob
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from lbproxy.config import sections as registry
from lbproxy.config import units
from lbproxy.config.draft import Draft, Drafts
from lbproxy.config.errors import ConfigError, ConfigErrors, Problems, Unfit, nearest_word
from lbproxy.config.foreign import foreign_key, foreign_section
from lbproxy.config.ini import FileReader, IniEntry, IniSection, Item, read_ini
from lbproxy.config.line import Scope
from lbproxy.config.lines.server import read_server
from lbproxy.config.options import Spot, label, option_fields
from lbproxy.config.plugins import Resolve
from lbproxy.config.sections import MACROS, SECTIONS
from lbproxy.config.value import read_words, value_kind
from lbproxy.model import Config, ServerSpec, Where

__all__ = ["DISK", "ConfigError", "ConfigErrors", "Files", "load", "parse", "parse_server"]


@frozen
class Files(FileReader):
    """Access to files. ``exists(path)`` is called for certificates and authorities."""

    exists: Callable[[str], bool]


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _glob_sorted(pattern: str) -> list[str]:
    return sorted(_glob.glob(pattern))  # noqa: PTH207


DISK = Files(read=_read, glob=_glob_sorted, exists=os.path.exists)
"""The real files."""


def load(
    path: str | os.PathLike[str],
    *,
    resolve: Resolve,
    env: Mapping[str, str] | None = None,
    files: Files = DISK,
) -> Config:
    """Return the configuration in the file ``path``; relative paths in it start at its directory.

    Raises :class:`ConfigErrors`, also if the file cannot be read.
    """
    name = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(name))  # noqa: PTH100, PTH120
    try:
        text = files.read(name)
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise ConfigErrors([ConfigError(Where(name), "", "", message)]) from None
    except ValueError:
        raise ConfigErrors([ConfigError(Where(name), "", "", "is not UTF-8 text")]) from None
    sources = [os.path.join(folder, os.path.basename(name))]  # noqa: PTH118, PTH119
    config = parse(
        text,
        name,
        folder,
        resolve=_noting_plugins(resolve, folder, sources),
        env=env,
        files=_noting_files(files, sources),
    )
    return attrs.evolve(config, sources=tuple(dict.fromkeys(sources)))


def _noting_files(files: Files, sources: list[str]) -> Files:
    """Return ``files`` with a record of each access."""

    def read(path: str) -> str:
        sources.append(path)
        return files.read(path)

    def expand(pattern: str) -> list[str]:
        sources.append(pattern)
        return files.glob(pattern)

    return Files(read=read, glob=expand, exists=files.exists)


def _noting_plugins(resolve: Resolve, folder: str, sources: list[str]) -> Resolve:
    def resolve_noting(kind: str, name: str) -> Any:
        path, colon, _ = name.rpartition(":")
        if colon and path.endswith(".py"):
            sources.append(os.path.normpath(os.path.join(folder, path)))  # noqa: PTH118
        return resolve(kind, name)

    return resolve_noting


def parse(
    text: str,
    file: str = "<text>",
    base_dir: str = ".",
    *,
    resolve: Resolve,
    env: Mapping[str, str] | None = None,
    files: Files = DISK,
) -> Config:
    """Return the configuration in ``text``; errors name it ``file``.

    ``env``: variables for ``${NAME}``, by default the environment of the process. Raises
    :class:`ConfigErrors` and nothing else.
    """
    problems = Problems()
    environment = os.environ if env is None else env
    sections = read_ini(
        text, file=file, folder=base_dir, env=environment, reader=files, problems=problems
    )
    sections = registry.expand(sections, problems)
    drafts = _Builder(problems, base_dir, resolve).build(sections)
    registry.check(drafts, problems, files.exists)
    problems.raise_if_any()
    return registry.finish(drafts, file)


def parse_server(text: str, *, base_dir: str = ".", where: Where | None = None) -> ServerSpec:
    """Parse one line of ``servers``, to add a server at run time. Raises :class:`ConfigErrors`.

    The caller checks whether its ``certificate`` exists.
    """
    problems = Problems()
    spot = Spot(problems, "", "servers", where or Where("<server>"), base_dir)
    words = read_words(text, spot)
    spec = read_server(words, spot) if words is not None else None
    problems.raise_if_any()
    assert spec is not None
    return spec


class _Builder:
    """Converts sections to drafts.

    :mod:`lbproxy.config.sections` checks what depends on several sections.
    """

    def __init__(self, problems: Problems, base_dir: str, resolve: Resolve) -> None:
        self.problems, self.base_dir, self.resolve = problems, base_dir, resolve
        self.drafts = Drafts()

    def build(self, sections: list[IniSection]) -> Drafts:
        known = [(s, d) for s in sections if (d := self._draft(s)) is not None]
        for section, draft in known:
            self._entries(section, draft)
            if self.drafts.find(draft.kind, draft.name) is draft:
                SECTIONS[draft.kind].prepare(draft, self._reader(draft))
        return self.drafts

    def _reader(self, draft: Draft) -> Callable[[str, str], None]:
        """Return a function that reads a key without a line, for :attr:`Section.prepare`."""
        fields = option_fields(draft.spec)

        def read(key: str, text: str) -> None:
            self._key(IniEntry(key, draft.where, [Item(text, draft.where)]), fields[key], draft)

        return read

    # -- sections ----------------------------------------------------------------------------------

    def _draft(self, section: IniSection) -> Draft | None:
        """Return the draft of a section of a known kind.

        It is not among ``drafts`` if the header is wrong; its keys are read for their errors.
        """
        kind, name = section.kind, section.name
        if kind not in SECTIONS:
            self._unknown_section(section)
            return None
        draft = Draft(kind, name, SECTIONS[kind].spec, section.where, shown=section.shown)
        if self._name_fits(section):
            first = self.drafts.find(kind, name)
            if first is None:
                self.drafts.add(draft)
            else:
                self._wrong(section, f"this section is already defined, at {first.where}")
        return draft

    def _unknown_section(self, section: IniSection) -> None:
        known = (*SECTIONS, *MACROS)
        message, here = f"unknown section {section.kind!r}", foreign_section(section.kind)
        if here:
            self._wrong(section, f"{message}; {here}")
        else:
            found = section.kind
            self.problems.add(section.where, section.title, "", message, found=found, known=known)
        # A reference to it is not reported as another error.
        self.drafts.doubtful.add((nearest_word(section.kind, known), section.name))

    def _name_fits(self, section: IniSection) -> bool:
        if SECTIONS[section.kind].single:
            if section.name:
                self._wrong(section, f"the section [{section.kind}] takes no name")
            return not section.name
        if not section.name:
            self._wrong(section, f"a {section.kind} needs a name: [{section.kind} NAME]")
            return False
        try:
            units.parse_name(section.name)
            if section.name == "none":
                raise Unfit("'none' is reserved as a name")
        except Unfit as error:
            self._wrong(section, str(error))
            self.drafts.doubtful.add((section.kind, section.name))
            return False
        return True

    def _wrong(self, section: IniSection, message: str) -> None:
        self.problems.add(section.where, section.title, "", message)

    # -- keys --------------------------------------------------------------------------------------

    def _unknown_key(self, section: IniSection, entry: IniEntry, known: tuple[str, ...]) -> None:
        message = f"unknown key {entry.key!r}"
        homes = [
            f"[{kind}]" for kind, one in SECTIONS.items() if entry.key in option_fields(one.spec)
        ]
        here = foreign_key(entry.key)
        if here and not homes:
            message, known = f"{message}; {here}", ()
        if homes:  # the word exists, but in another place
            message, known = f"{message} here; it belongs in {' or '.join(homes)}", ()
        title = entry.section or section.title
        self.problems.add(entry.where, title, entry.key, message, found=entry.key, known=known)

    def _entries(self, section: IniSection, draft: Draft) -> None:
        fields = {label(f): f for f in option_fields(draft.spec).values()}
        mine: dict[str, IniEntry] = {}
        repeated: list[IniEntry] = []
        for entry in section.entries:
            if entry.key not in fields:
                self._unknown_key(section, entry, tuple(fields))
            elif entry.key in mine:
                first = mine[entry.key].where
                self.problems.add(
                    entry.where, section.title, entry.key, f"given twice, first at {first}"
                )
                repeated.append(entry)
            else:
                mine[entry.key] = entry
        # Routes depend on the frontend's mode, so that is read first.
        for key in sorted(mine, key=lambda k: k != "mode"):
            self._key(mine[key], fields[key], draft)
        aside = Draft(draft.kind, draft.name, draft.spec, draft.where, shown=draft.shown)
        aside.values["mode"] = draft.mode
        for entry in repeated:  # to report their own errors
            self._key(entry, fields[entry.key], aside)

    def _key(self, entry: IniEntry, field: attrs.Attribute[Any], draft: Draft) -> None:
        name = field.name  # the label of a key whose name is reserved in Python
        draft.lines[name] = entry.where
        if entry.inherited:
            draft.inherited[name] = entry.inherited
        title = entry.section or draft.title
        draft.elsewhere[entry.where] = title
        draft.elsewhere.update({i.where: i.section for i in entry.items if i.section})
        spot = Spot(self.problems, title, entry.key, entry.where, self.base_dir)
        facts = field.metadata
        kind = value_kind(facts["kind"])
        before = len(self.problems.errors)
        if any(item.broken for item in entry.items):
            draft.broken.add(name)
            if not kind.separate:
                return
        scope = Scope(self.resolve, self.drafts.names, draft.mode)
        value = kind.read(entry, facts, spot, scope)
        if len(self.problems.errors) > before:
            draft.broken.add(name)
        if name not in draft.broken or kind.separate:
            draft.values[name] = value
