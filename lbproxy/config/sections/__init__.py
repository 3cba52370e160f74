"""PURE. Every kind of section. To add one, create a :class:`~lbproxy.config.section.Section` in a
file here, and list it below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from lbproxy.config.draft import Drafts
from lbproxy.config.errors import Problems
from lbproxy.config.expand import Expansion, Macro
from lbproxy.config.ini import IniSection
from lbproxy.config.options import option_fields
from lbproxy.config.section import Judge, Section
from lbproxy.config.sections.alerts import ALERTS
from lbproxy.config.sections.backend import BACKEND
from lbproxy.config.sections.certificate import CERTIFICATE
from lbproxy.config.sections.defaults import DEFAULTS
from lbproxy.config.sections.frontend import FRONTEND
from lbproxy.config.sections.listen import LISTEN
from lbproxy.config.sections.settings import SETTINGS
from lbproxy.config.sections.shared import SHARED
from lbproxy.config.sections.site import SITE
from lbproxy.model import Config

__all__ = ["MACROS", "SECTIONS", "check", "expand", "finish", "of_class"]

SECTIONS: dict[str, Section] = {
    section.kind: section for section in (SETTINGS, FRONTEND, BACKEND, CERTIFICATE, ALERTS, SHARED)
}
"""Sections by the first word of the header, in the order of the reference and of a dump."""

MACROS: dict[str, Macro] = {macro.kind: macro for macro in (LISTEN, SITE, DEFAULTS)}
"""Sections that are rewritten into others, in the order of rewriting."""


def of_class(cls: type[Any]) -> Section | None:
    """Return the section with the keys of ``cls``, or None."""
    return next((section for section in SECTIONS.values() if section.spec is cls), None)


def expand(sections: list[IniSection], problems: Problems) -> list[IniSection]:
    """Return ``sections`` with the macros rewritten. Errors go to ``problems``."""
    inherits = any(entry.key == "defaults" for one in sections for entry in one.entries)
    if not inherits and not any(section.kind in MACROS for section in sections):
        return sections
    expansion = Expansion(sections, problems, lambda kind: option_fields(SECTIONS[kind].spec))
    for macro in MACROS.values():
        macro.expand(expansion)
    return expansion.sections


def check(drafts: Drafts, problems: Problems, exists: Callable[[str], bool]) -> None:
    """Report conflicts between sections to ``problems``, and set every backend's mode."""
    judge = Judge(drafts, problems, exists)
    for section in SECTIONS.values():
        section.between(judge)
    for section in SECTIONS.values():
        for draft in drafts.of(section.kind):
            section.check(draft, judge)


def finish(drafts: Drafts, file: str) -> Config:
    """Return the configuration. Call it only if no errors were reported."""
    values: dict[str, Any] = {}
    others: list[Any] = []
    for section in SECTIONS.values():
        specs = [draft.finish() for draft in drafts.of(section.kind)]
        if not section.field:
            others += specs
        elif not section.single:
            values[section.field] = tuple(specs)
        elif specs:
            written = {"on": True} if hasattr(specs[0], "on") else {}
            values[section.field] = evolve(specs[0], **written)
    places = {
        (f"{draft.kind} {draft.name}".strip(), key): where
        for draft in drafts.all
        for key, where in [("", draft.where), *draft.lines.items()]
    }
    return Config(**values, others=tuple(others), file=file, places=places)
