"""PURE. ``[listen NAME]``: a frontend and a backend of the same name in one section."""

from __future__ import annotations

from lbproxy.config.expand import Expansion, Macro, moved
from lbproxy.config.ini import IniEntry, IniSection, Item

__all__ = ["LISTEN"]

SHARED = ("mode", "defaults")
"""Keys that apply to both halves. Any other key that both have belongs to the frontend."""


def _expand(expansion: Expansion) -> None:
    front, back = expansion.fields("frontend"), expansion.fields("backend")
    for section in expansion.take(LISTEN):
        known = [key for key in dict.fromkeys((*front, *back, "defaults")) if key != "backend"]
        entries = expansion.keys(section, known)
        frontend = [moved(e, section) for k, e in entries.items() if k in front or k in SHARED]
        backend = [moved(e, section) for k, e in entries.items() if k not in front or k in SHARED]
        leads = IniEntry("backend", section.where, [Item(section.name, section.where)])
        frontend.append(moved(leads, section))
        for kind, mine in (("frontend", frontend), ("backend", backend)):
            made = IniSection(kind, section.name, section.where, mine, shown=section.title)
            expansion.sections.append(made)


LISTEN = Macro(
    "listen",
    doc="A frontend and a backend of the same name in one section. It has the keys of both, "
    "and its traffic goes to"
    " its own servers. ``mode`` and ``defaults`` apply to both. Other keys that both have, such "
    "as ``filters`` and"
    " ``maxconn``, belong to the frontend.",
    expand=_expand,
)
