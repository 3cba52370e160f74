"""PURE. The whole configuration reference, made from the model and the plugins' Options.

Called by :func:`lbproxy.registry.reference` for ``lbproxy config reference`` and for the documentation.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import fill, indent
from typing import Any, Literal

import attrs
from attrs import Attribute, frozen

from lbproxy.config import units
from lbproxy.config.draft import SECTIONS, SINGLE
from lbproxy.config.lines import LINES
from lbproxy.config.model import (
    AdminSpec,
    AgentSpec,
    CheckSpec,
    ListenSpec,
    LogSpec,
    MirrorSpec,
    PassiveSpec,
    RebalanceSpec,
    ServerSpec,
)
from lbproxy.config.options import field_default, option_fields
from lbproxy.config.plugins import options_class

__all__ = ["Format", "render"]

Format = Literal["rst", "text"]

_WORDS = {
    "servers": "server lines (see `server line`)",
    "listens": "listen lines (see `listen line`)",
    "admins": "admin lines (see `admin line`)",
    "routes": "route lines (see `route line`)",
    "agent": "an agent line (see `agent line`)",
    "check": "a check line (see `check line`)",
    "mirror": "a mirror line (see `mirror line`)",
    "rebalance": "a rebalance line (see `rebalance line`)",
    "passive": "``on``, ``off`` or options (see `passive line`)",
    "log": "a log line (see `log line`)",
    "lines:webhook": "webhook lines (see `webhook line`)",
    "lines:mail": "mail lines (see `mail line`)",
    "lines:command": "command lines (see `command line`)",
    "lines:rule": "rule lines (see `rule line`)",
    "plugin:balancer": "a balancer and its options",
    "plugin:sticky": "a kind of stickiness and its options (see `Stickiness`)",
    "plugins:filter": "filters and their options, one per line",
}

_INTRO = """\
A configuration is an INI text.  Sections are ``[lbproxy]``, ``[frontend NAME]``, ``[backend NAME]``,
``[certificate NAME]`` and ``[alerts]``.  Sections and keys begin in the first column; a line that begins with
white space is one more line of the key above it.  ``#`` and ``;`` begin a comment at the start of a line, ``#``
also after white space.  ``${NAME}`` and ``${NAME:-default}`` are taken from the environment, ``$${`` is a plain
``${``.  Text with spaces stands in quotes.  ``include = FILE`` (or a glob, relative to the including file) may
stand before the first section; other relative paths start at the folder of the main file."""

_SECTION_DOCS = {
    "lbproxy": "The process.",
    "frontend": "What clients connect to: listeners, rules and routes.",
    "backend": "Servers and how they are used.",
    "certificate": "One key pair.",
    "alerts": "When operators are told, and how.",
}

_ROUTE = """\
``[not] CONDITION ARGUMENTS ... -> BACKEND`` or ``-> redirect STATUS URL`` or ``-> reply STATUS TEXT``.  All conditions
must hold; the first route that fits wins.  ``-> BACKEND priority=N`` (-9 to 9, default 0): the class in the backend's
queue, lower ones are served first.  ``default -> BACKEND`` takes what is left.  Conditions:"""

_LOG = """\
``PATH``, ``stdout``, ``syslog:udp:HOST[:PORT]``, ``syslog:tcp:HOST[:PORT]``, ``syslog:unix:PATH`` or ``off``;
then ``json``, ``common``, ``combined`` or a quoted format, ``json`` if there is none; then options:"""

_KIND_TITLES = {
    "balancer": "Balancers",
    "sticky": "Stickiness",
    "filter": "Filters",
    "probe": "Probes",
}


@frozen
class Row:
    """One key or option as the reference shows it."""

    name: str
    kind: str
    default: str
    doc: str
    example: str = ""
    http_only: bool = False
    keep: tuple[str, ...] = ("lbproxy",)  # words that stay in lower case at the start of a sentence


def _default_words(f: Attribute[Any]) -> str:
    kind = f.metadata["kind"]
    value = field_default(f)
    if value is attrs.NOTHING:
        return "required"
    if kind == "plugin:balancer":
        return "roundrobin"
    if kind == "log":
        return "off" if value is not None else "as in [lbproxy]"
    if kind == "flag":
        return "on" if value else "off"
    if kind == "size_or_none" and value is None:
        return "none"
    if value is None or value in ("", ()):
        return (
            "empty" if kind in ("string", "path", "secret") or kind.startswith("list:") else "none"
        )
    return units.dump(kind, value)


def rows(cls: type[Any]) -> Iterator[Row]:
    """The keys or options of ``cls``, in order."""
    for name, f in option_fields(cls).items():
        facts = f.metadata
        kind = _WORDS.get(facts["kind"]) or units.describe(facts["kind"], facts)
        positional = facts.get("positional")
        label = (
            f"{name.upper()}..." if positional == "rest" else name.upper() if positional else name
        )
        yield Row(
            label,
            kind,
            _default_words(f),
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
        facts = f"{row.kind}.  {default}."
        doc = row.doc + "."
        if not row.doc.startswith(row.keep):
            doc = doc[:1].upper() + doc[1:]
        if row.http_only:
            doc = "In http mode only.  " + doc
        lines = [doc, facts[:1].upper() + facts[1:]]
        if row.example:
            lines.append(f"Example: ``{row.example}``")
        body = ("\n\n" if self.form == "rst" else "\n").join(
            fill(self._plain(line), 92, break_long_words=False, break_on_hyphens=False)
            for line in lines
        )
        name = f"``{row.name}``" if self.form == "rst" else row.name
        self.out.append(f"{name}\n{indent(body, '    ')}\n")

    def table(self, cls: type[Any]) -> None:
        for row in rows(cls):
            self.row(row)

    def text(self) -> str:
        return "\n".join(self.out)


def render(form: Format = "rst", plugins: Mapping[str, Sequence[Any]] | None = None) -> str:
    """The reference as reStructuredText or as plain text for the terminal.

    ``plugins`` maps "balancer", "sticky", "filter" and "probe" to classes.
    """
    writer = _Writer(form)
    writer.heading("Configuration reference", 0)
    writer.paragraph(_INTRO)
    for kind, cls in SECTIONS.items():
        title = f"[{kind}]" if kind in SINGLE else f"[{kind} NAME]"
        writer.heading(title, 1)
        writer.paragraph(_SECTION_DOCS[kind])
        writer.table(cls)
    _lines(writer)
    for kind, classes in (plugins or {}).items():
        writer.heading(_KIND_TITLES.get(kind, kind), 1)
        for cls in classes:
            _plugin(writer, kind, cls)
    return writer.text()


def _lines(writer: _Writer) -> None:
    writer.heading("Server line", 1)
    writer.paragraph("``NAME ADDRESS`` and options, one line for each server.")
    writer.table(ServerSpec)
    writer.heading("Listen line", 1)
    writer.paragraph(
        "``ENDPOINT`` and options: ``tcp:PORT``, ``tcp:PORT:interface=IP``, ``tcp6:PORT``, ``tls:PORT``, ``IP:PORT``,"
        " ``unix:PATH``, ``systemd:domain=INET:index=0`` or the endpoint of a Twisted plugin."
    )
    writer.table(ListenSpec)
    writer.heading("Admin line", 1)
    writer.paragraph(
        "``ENDPOINT`` and options: ``tcp:PORT:interface=IP``, ``tls:PORT``, ``IP:PORT`` or ``unix:PATH``.  An"
        " address that is not on the loopback interface needs ``admin_tokens`` or ``client_ca``."
    )
    writer.table(AdminSpec)
    writer.heading("Check line", 1)
    writer.paragraph("``PROBE`` with its own options, and these:")
    writer.table(CheckSpec)
    writer.heading("Passive line", 1)
    writer.paragraph("``on``, or some of these:")
    writer.table(PassiveSpec)
    writer.heading("Mirror line", 1)
    writer.paragraph("``BACKEND`` and options:")
    writer.table(MirrorSpec)
    writer.heading("Rebalance line", 1)
    writer.paragraph("``PROTOCOL`` and options:")
    writer.table(RebalanceSpec)
    writer.heading("Log line", 1)
    writer.paragraph(_LOG)
    writer.table(LogSpec)
    for name, cls in LINES.items():
        writer.heading(f"{name.capitalize()} line", 1)
        writer.paragraph((cls.__doc__ or "").partition(": ")[2])
        writer.table(cls)
    writer.heading("Agent line", 1)
    writer.paragraph("``PORT`` and options:")
    writer.table(AgentSpec)
    writer.heading("Route line", 1)
    writer.paragraph(_ROUTE)
    from lbproxy.http.route import VERBS

    for verb, facts in VERBS.items():
        modes = ", ".join(sorted(facts.modes))
        name = f"{verb} {facts.usage}"
        shown = f"``{name}``" if writer.form == "rst" else name
        body = writer._plain(f"{facts.doc[:1].upper()}{facts.doc[1:]}.  Mode: {modes}.")
        writer.out.append(f"{shown}\n{indent(fill(body, 92), '    ')}\n")


def _plugin(writer: _Writer, kind: str, cls: Any) -> None:
    writer.heading(str(cls.name), 2)
    text = inspect.cleandoc(cls.__doc__ or "").strip()
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
