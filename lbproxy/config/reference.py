"""PURE. The configuration reference, generated from the model and the plugins' Options.

:func:`lbproxy.registry.reference` calls it for ``lbproxy config reference`` and the documentation.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import fill, indent
from typing import Any, Literal

import attrs
from attrs import Attribute, frozen

from lbproxy.compiled import docstring
from lbproxy.config.line import Line
from lbproxy.config.lines import LINES
from lbproxy.config.options import field_default, label, option_fields
from lbproxy.config.plugins import options_class
from lbproxy.config.sections import MACROS, SECTIONS
from lbproxy.config.value import value_kind

__all__ = ["Format", "default_words", "render"]

Format = Literal["rst", "text"]

_INTRO = """\
A configuration is an INI text with the sections below. ``[listen NAME]``, ``[site NAME]`` and
``[defaults]`` contain the keys of others and are expanded into them. Sections and keys begin in the
first column. A line that begins with white space continues the value of the key above it. ``#``
and ``;`` begin a comment at the start of a line, ``#`` also after white space. ``${NAME}`` and
``${NAME:-default}`` are replaced by environment variables, and ``$${`` is a literal ``${``. Text
with spaces is quoted. ``include = FILE`` (or a glob, relative to the including file) may stand
before the first section. Other relative paths are relative to the directory of the main file."""

_KIND_TITLES = {
    "balancer": "Balancers",
    "sticky": "Stickiness",
    "filter": "Filters",
    "probe": "Probes",
}


@frozen
class Row:
    """One key or option in the reference."""

    name: str
    kind: str
    default: str
    doc: str
    example: str = ""
    http_only: bool = False
    keep: tuple[str, ...] = ("lbproxy",)  # words that stay in lower case at the start of a sentence


def default_words(f: Attribute[Any]) -> str:
    """Return the default of a key in words; "required" without one."""
    value = field_default(f)
    if "default_words" in f.metadata:
        return str(f.metadata["default_words"])
    if value is attrs.NOTHING:
        return "required"
    return value_kind(f.metadata["kind"]).describe_default(value)


def rows(cls: type[Any]) -> Iterator[Row]:
    """Return the keys or options of ``cls``, in order."""
    for f in option_fields(cls).values():
        facts = f.metadata
        kind = value_kind(facts["kind"]).describe(facts)
        positional = facts.get("positional")
        shown = label(f)
        if positional:
            shown = shown.upper() + ("..." if positional == "rest" else "")
        yield Row(
            shown,
            kind,
            default_words(f),
            facts["doc"],
            str(facts.get("example", "")),
            bool(facts.get("http_only")),
            ("lbproxy", *facts.get("choices", ())),
        )


class _Writer:
    """Collects headings, paragraphs and rows in one of the two formats."""

    def __init__(self, form: Format) -> None:
        self.form: Format = form
        self.out: list[str] = []

    def heading(self, text: str, level: int) -> None:
        line = "=-~"[level] * len(text)
        self.out.append(f"{self._plain(text)}\n{line}\n")

    def _plain(self, text: str) -> str:
        if self.form == "rst":
            return text
        return re.sub(r"`{1,2}([^`]*)`{1,2}", r"\1", text)

    def paragraph(self, text: str) -> None:
        words = " ".join(text.split())
        words = re.sub(r":(?:class|func|mod|meth):`~?([^`]*)`", r"``\1``", words)
        self.out.append(
            fill(self._plain(words), 98, break_long_words=False, break_on_hyphens=False) + "\n"
        )

    def row(self, row: Row) -> None:
        default = "Required" if row.default == "required" else f"Default: {row.default}"
        facts = f"{row.kind}. {default}."
        doc = row.doc + "."
        if not row.doc.startswith(row.keep):
            doc = doc[:1].upper() + doc[1:]
        if row.http_only:
            doc = "HTTP mode only. " + doc
        lines = [doc, facts[:1].upper() + facts[1:]]
        if row.example:
            lines.append(f"Example: ``{row.example}``")
        body = ("\n\n" if self.form == "rst" else "\n").join(
            fill(self._plain(line), 92, break_long_words=False, break_on_hyphens=False)
            for line in lines
        )
        name = f"``{row.name}``" if self.form == "rst" else row.name
        self.out.append(f"{name}\n{indent(body, '    ')}\n")

    def entry(self, name: str, text: str) -> None:
        shown = f"``{name}``" if self.form == "rst" else name
        self.out.append(f"{shown}\n{indent(fill(self._plain(text), 92), '    ')}\n")

    def table(self, cls: type[Any]) -> None:
        for row in rows(cls):
            self.row(row)

    def text(self) -> str:
        return "\n".join(self.out)


def render(form: Format = "rst", plugins: Mapping[str, Sequence[Any]] | None = None) -> str:
    """Return the reference as reStructuredText or as plain text for the terminal.

    ``plugins`` maps "balancer", "sticky", "filter" and "probe" to classes.
    """
    writer = _Writer(form)
    writer.heading("Configuration reference", 0)
    writer.paragraph(_INTRO)
    for section in SECTIONS.values():
        writer.heading(section.title, 1)
        writer.paragraph(section.doc)
        writer.table(section.spec)
    for macro in MACROS.values():
        writer.heading(macro.title, 1)
        writer.paragraph(macro.doc)
        if macro.keys is not None:
            writer.table(macro.keys)
    for line in LINES.values():
        if line.intro:
            _line(writer, line)
    for kind, classes in (plugins or {}).items():
        writer.heading(_KIND_TITLES.get(kind, kind), 1)
        for cls in classes:
            _plugin(writer, kind, cls)
    return writer.text()


def _line(writer: _Writer, line: Line) -> None:
    writer.heading(f"{line.name.capitalize()} line", 1)
    writer.paragraph(line.intro)
    if line.options is not None:
        writer.table(line.options)
    for name, text in line.rows():
        writer.entry(name, text)


def _plugin(writer: _Writer, kind: str, cls: Any) -> None:
    writer.heading(str(cls.name), 2)
    text = inspect.cleandoc(docstring(cls)).strip()
    if text:
        for paragraph in text.split("\n\n"):
            writer.paragraph(paragraph)
    if kind in ("filter", "sticky"):
        writer.paragraph("Modes: " + ", ".join(sorted(_modes(cls))) + ".")
    options = options_class(cls)
    if attrs.has(options) and option_fields(options):
        writer.table(options)


def _modes(cls: Any) -> Iterable[str]:
    modes = getattr(cls, "modes", ())
    return () if isinstance(modes, property) else modes
