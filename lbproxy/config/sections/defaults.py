"""PURE. ``[defaults]`` and ``[defaults NAME]``: keys that frontends and backends inherit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbproxy.config.expand import Expansion, Macro, moved
from lbproxy.config.ini import IniEntry, IniSection

__all__ = ["DEFAULTS"]

NONE = "none"
"""``defaults = none``: the section inherits nothing."""

OWN = ("listen", "routes", "servers", "backend", "filters", "maxconn", "sticky", "mirror")
"""Keys that are not inherited: they name other sections, or have different meanings in the two
kinds.
"""


def _expand(expansion: Expansion) -> None:
    kinds = {kind: expansion.fields(kind) for kind in ("frontend", "backend")}
    known = [key for fields in kinds.values() for key in fields if key not in OWN]
    tables: dict[str, tuple[IniSection, dict[str, IniEntry]]] = {}
    for section in expansion.take(DEFAULTS):
        if section.name == NONE:
            expansion.wrong(section, section.where, "", "'none' is reserved as a name")
            continue
        tables[section.name] = (section, expansion.keys(section, dict.fromkeys(known)))
    used = {""}
    for section in expansion.sections:
        if section.kind in kinds:
            name = _wanted(expansion, section, tables)
            used.add(name)
            if name in tables:
                _inherit(section, *tables[name], kinds, named=bool(name))
    for name, (section, _) in tables.items():
        if name not in used:
            expansion.wrong(section, section.where, "", "no frontend and no backend uses it")


def _wanted(expansion: Expansion, section: IniSection, tables: Mapping[str, Any]) -> str:
    """Return the name of the defaults of ``section``, ``none`` for none, and remove its key."""
    entry = next((one for one in section.entries if one.key == "defaults"), None)
    if entry is None:
        return ""
    section.entries.remove(entry)
    words = [word for word, _ in expansion.words(section, entry)]
    if len(words) != 1:
        expansion.wrong(section, entry.where, "defaults", "needs one name, or none")
        return NONE
    name = words[0]
    if name != NONE and name not in tables:
        known = (*sorted(filter(None, tables)), NONE)
        message = f"there is no [defaults {name}]"
        expansion.wrong(section, entry.where, "defaults", message, found=name, known=known)
        return NONE
    return name


def _inherit(
    section: IniSection,
    defaults: IniSection,
    entries: Mapping[str, IniEntry],
    kinds: Mapping[str, Mapping[str, Any]],
    *,
    named: bool,
) -> None:
    """Add the keys that ``section`` does not set itself.

    A key that both kinds have, such as the mode, applies from ``[defaults]`` to frontends, and from
    a named one to the sections that use it; in a ``[listen]`` only the mode applies to both halves.
    A section of another mode inherits nothing.
    """
    written = {entry.key: entry for entry in section.entries}
    mode = _text(entries.get("mode"))
    if mode and _text(written.get("mode"), mode) != mode:
        return
    for key, entry in entries.items():
        if key not in kinds[section.kind] or key in written:
            continue
        if section.kind == "backend" and key in kinds["frontend"]:
            half = section.shown.startswith("listen ") and key != "mode"
            if half or not named:
                continue
        section.entries.append(moved(entry, defaults, inherited=mode or "any"))


def _text(entry: IniEntry | None, otherwise: str = "") -> str:
    return entry.items[0].text if entry is not None and entry.items else otherwise


DEFAULTS = Macro(
    "defaults",
    doc="Keys that frontends and backends inherit if they do not set them. "
    "``[defaults]`` is for all of them,"
    " ``[defaults NAME]`` for those with ``defaults = NAME``; ``defaults = none`` inherits "
    "nothing. A section inherits"
    " the keys that its kind and its mode have. Not inherited: "
    + ", ".join(f"``{key}``" for key in OWN)
    + ". ``mode`` sets the mode of frontends without one; sections of another mode inherit "
    "nothing. Keys that both kinds have, such as ``cache``, are inherited from ``[defaults]`` by "
    "frontends only.",
    expand=_expand,
    optional=True,
)
