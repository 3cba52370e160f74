"""PURE. ``[site NAME]``: some hosts of a frontend in a separate section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, frozen

from lbproxy.config.conditions import find_if
from lbproxy.config.expand import Expansion, Macro, line_of, moved, words_of
from lbproxy.config.ini import IniEntry, IniSection, Item
from lbproxy.config.words import Word, quote
from lbproxy.http.condition import name_key
from lbproxy.model import option

__all__ = ["SITE"]


@frozen
class SiteKeys:
    """The keys of a site."""

    on: tuple[str, ...] = option("list:name", doc="frontends that serve it", example="web")
    hosts: tuple[str, ...] = option(
        "list:string",
        doc="host names, as in the condition ``host``; in tcp mode as in ``sni``",
        example="example.com www.example.com",
    )
    backend: str = option("backend", "", doc="backend for traffic that no route matches")
    routes: Any = option("lines:route", (), doc="routes of these hosts, one per line")
    filters: Any = option("lines:filter", (), doc="filters for these hosts, in order")
    certificates: tuple[str, ...] = option(
        "list:string",
        (),
        doc="names of [certificate] sections, PEM files or folders, for the ``tls:`` listeners "
        "of its frontends",
    )


KEYS = tuple(SiteKeys.__annotations__)


@frozen
class _Site:
    """A site as written; ``hosts`` are words."""

    section: IniSection
    entries: Mapping[str, IniEntry]
    hosts: tuple[str, ...]


def _expand(expansion: Expansion) -> None:
    sites: dict[str, list[_Site]] = {}
    for section in expansion.take(SITE):
        entries = expansion.keys(section, KEYS)
        hosts = _hosts(expansion, section, entries)
        if not ({"backend", "routes"} & entries.keys()):
            message = (
                "the site has neither a backend nor routes, so that its traffic has no destination"
            )
            expansion.wrong(section, section.where, "", message)
        for name in _frontends(expansion, section, entries):
            sites.setdefault(name, []).append(_Site(section, entries, hosts))
    for name, mine in sites.items():
        _merge(expansion, name, mine)


def _frontends(
    expansion: Expansion, section: IniSection, entries: Mapping[str, IniEntry]
) -> Iterable[str]:
    if "on" not in entries:
        message = "the key is missing: the frontends that serve the site"
        expansion.wrong(section, section.where, "on", message)
        return
    known = expansion.names("frontend")
    for name, where in expansion.words(section, entries["on"]):
        if name in known:
            yield name
        else:
            message = f"there is no frontend {name!r}"
            expansion.wrong(section, where, "on", message, found=name, known=sorted(known))


def _hosts(
    expansion: Expansion, section: IniSection, entries: Mapping[str, IniEntry]
) -> tuple[str, ...]:
    if "hosts" not in entries or not entries["hosts"].items:
        expansion.wrong(section, section.where, "hosts", "a site needs host names")
        return ()
    found = []
    for host, where in expansion.words(section, entries["hosts"]):
        try:
            name_key(host)
        except ValueError as error:
            expansion.wrong(section, where, "hosts", str(error), found=host)
        else:
            found.append(host)
    return tuple(found)


def _merge(expansion: Expansion, name: str, sites: list[_Site]) -> None:
    """Merge the sites of one frontend into it."""
    frontend = expansion.find("frontend", name)
    assert frontend is not None
    _conflicts(expansion, name, sites)
    mode = next((e.items[0].text for e in frontend.entries if e.key == "mode" and e.items), "http")
    verb = "sni" if mode == "tcp" else "host"
    routes = [one for site in sites for one in _routes(site, verb)]
    # The most specific name first, regardless of the file: names, then wildcards by their length.
    routes.sort(key=lambda one: one[0])
    _insert_routes(frontend, [item for _, item in routes])
    filters = [item for site in sites for item in _filters(site, verb)]
    if filters:
        _entry(frontend, "filters", sites[0]).items.extend(filters)
    certificates = [word for site in sites for word in _certificates(expansion, site)]
    if certificates:
        _add_certificates(frontend, certificates)


def _conflicts(expansion: Expansion, name: str, sites: list[_Site]) -> None:
    seen: dict[tuple[str, bytes], _Site] = {}
    for site in sites:
        for host in site.hosts:
            other = seen.setdefault(name_key(host), site)
            if other is not site:
                message = (
                    f"{host!r} on frontend {name!r} is taken by [{other.section.title}] at"
                    f" {other.section.where}"
                )
                where = site.entries["hosts"].where
                expansion.wrong(site.section, where, "hosts", message, found=host)


def _rank(host: str) -> tuple[int, int]:
    kind, raw = name_key(host)
    return ("exact", "suffix", "regex", "any").index(kind), -len(raw)


def _routes(site: _Site, verb: str) -> Iterable[tuple[tuple[int, int], Item]]:
    """Return the routes of a site for each rank of its hosts."""
    lines = [(item, words_of(item)) for item in _items(site, "routes")]
    backend = site.entries.get("backend")
    if backend is not None:
        for item in backend.items[:1]:
            lines.append((item, [Word("->", bare="->"), Word(item.text, bare=item.text)]))
    ranks: dict[tuple[int, int], list[str]] = {}
    for host in site.hosts:
        ranks.setdefault(_rank(host), []).append(host)
    for rank, hosts in ranks.items():
        names = f"{verb} {' '.join(quote(host) for host in hosts)}"
        for item, words in lines:
            text = item.text
            if words and words[0].is_bare and words[0].text == "default":
                text = line_of(words[1:])
            elif words and words[0].text == "->":
                text = line_of(words)
            yield rank, evolve(item, text=f"{names} {text}", plain=None)


def _filters(site: _Site, verb: str) -> Iterable[Item]:
    names = f"{verb} {' '.join(quote(host) for host in site.hosts)}"
    for item in _items(site, "filters"):
        words = words_of(item)
        joint = " " if find_if(words) < len(words) else " if "
        yield evolve(item, text=f"{item.text}{joint}{names}", plain=None)


def _certificates(expansion: Expansion, site: _Site) -> list[str]:
    entry = site.entries.get("certificates")
    return [] if entry is None else [word for word, _ in expansion.words(site.section, entry)]


def _items(site: _Site, key: str) -> list[Item]:
    entry = site.entries.get(key)
    return [] if entry is None else moved(entry, site.section).items


def _entry(frontend: IniSection, key: str, site: _Site) -> IniEntry:
    """Return the entry of a frontend; create it if it does not exist."""
    for entry in frontend.entries:
        if entry.key == key:
            return entry
    made = moved(
        IniEntry(key, site.entries[key].where if key in site.entries else site.section.where),
        site.section,
    )
    frontend.entries.append(made)
    return made


def _insert_routes(frontend: IniSection, items: list[Item]) -> None:
    """Insert routes after the frontend's own, but before its default."""
    entry = next((one for one in frontend.entries if one.key == "routes"), None)
    if entry is None:
        entry = IniEntry("routes", items[0].where if items else frontend.where)
        frontend.entries.append(entry)
    at = next((i for i, item in enumerate(entry.items) if _is_default(item)), len(entry.items))
    entry.items[at:at] = items


def _is_default(item: Item) -> bool:
    words = words_of(item)
    return bool(words) and words[0].is_bare and words[0].text == "default"


def _add_certificates(frontend: IniSection, names: list[str]) -> None:
    listen = next((one for one in frontend.entries if one.key == "listen"), None)
    if listen is None:
        return
    for at, item in enumerate(listen.items):
        words = words_of(item)
        if not words or not words[0].text.startswith("tls:"):
            continue
        listen.items[at] = evolve(item, text=_with_certificates(words, names), plain=None)


def _with_certificates(words: list[Word], names: list[str]) -> str:
    own: list[str] = []
    rest: list[Word] = []
    for word in words:
        pair = word.option()
        if pair is not None and pair[0] == "certificates":
            own.append(pair[1])
        else:
            rest.append(word)
    value = ",".join([*own, *(quote(name) for name in dict.fromkeys(names))])
    return f"{line_of(rest)} certificates={quote(value)}"


SITE = Macro(
    "site",
    doc="Some hosts of a frontend, with their routes, filters and certificates, in a separate "
    "section, often in a separate file."
    " Its routes follow those of the frontend and precede the frontend's default. Names precede"
    " wildcards, and longer wildcards precede shorter ones, regardless of the order of the files. "
    "Two sites of one frontend"
    " cannot have the same host.",
    expand=_expand,
    keys=SiteKeys,
)
