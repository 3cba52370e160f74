"""PURE. The differences between two configurations by section and key, and when they take effect.

:mod:`lbproxy.generation.reload` and the command line call it. New keys need no code here: sections
are in :data:`lbproxy.config.sections.SECTIONS`, keys are the fields of their classes. A key that a
running process cannot change has ``restart=True`` in :mod:`lbproxy.model`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from enum import Enum
from typing import Any, Literal

import attrs
from attrs import field, frozen

from lbproxy.config.masking import masked
from lbproxy.config.options import label, option_fields
from lbproxy.config.section import Section
from lbproxy.config.sections import SECTIONS
from lbproxy.config.value import value_kind
from lbproxy.model import BackendSpec, Config, FrontendSpec, ListenSpec, ServerSpec

__all__ = [
    "Change",
    "ConfigDiff",
    "Effect",
    "ServerMoves",
    "diff",
    "listener_key",
    "server_moves",
    "successor",
]


class Effect(str, Enum):
    """The traffic for which a change takes effect."""

    NOW = "at once"
    NEXT = "new connections and the next requests"
    LISTEN = "bound or closed; open connections stay"
    SERVERS = "at once; sessions on a removed server may finish in timeout_drain"
    DRAIN = "open sessions may finish in timeout_drain"
    RESTART = "needs a restart; the old value stays"


@frozen
class Change:
    """One difference.

    ``section``: a header without brackets. ``key``: "" for an added or removed section. ``before``
    and ``after``: the lines that differ, as written but without secrets. Equal lines mean that the
    code in the file of a plugin has changed.
    """

    section: str
    key: str
    what: Literal["added", "removed", "changed"]
    before: tuple[str, ...]
    after: tuple[str, ...]
    effect: Effect

    def text(self) -> str:
        """The change for people."""
        title = f"[{self.section}] {self.key}".rstrip()
        head = f"{title} {self.what}" if self.what != "changed" else title
        lines = [f"{head}: {self.effect.value}"]
        if self.before == self.after:
            lines += [f"    ~ {line}  (the same line: its code changed)" for line in self.after]
        else:
            lines += [f"    - {line}" for line in self.before]
            lines += [f"    + {line}" for line in self.after]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the change for programs."""
        return {**attrs.asdict(self), "effect": self.effect.name.lower()}


@frozen
class ConfigDiff:
    """The changes from ``old`` to ``new``; false if there are none."""

    old: Config = field(repr=False)
    new: Config = field(repr=False)
    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def section(self, title: str) -> tuple[Change, ...]:
        """Return the changes of one section, such as ``backend app``."""
        return tuple(change for change in self.changes if change.section == title)

    @property
    def restart(self) -> tuple[str, ...]:
        """The sections and keys that a reload cannot change, as ``section key``."""
        found = (one for one in self.changes if one.effect is Effect.RESTART)
        return tuple(f"{one.section} {one.key}".rstrip() for one in found)

    def text(self) -> str:
        """The changes for people, one paragraph for each."""
        return "\n".join(change.text() for change in self.changes) or "nothing changes"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the changes for programs."""
        return [change.as_json() for change in self.changes]


def diff(old: Config, new: Config) -> ConfigDiff:
    """Return all differences except the positions of lines."""
    changes: list[Change] = []
    for section in SECTIONS.values():
        if section.single:
            changes += _single(section, old, new)
        else:
            before, after = section.specs(old), section.specs(new)
            changes += _sections(_by_title(section, before), _by_title(section, after))
    return ConfigDiff(old, new, tuple(changes))


def _single(section: Section, old: Config, new: Config) -> Iterator[Change]:
    present = bool(section.specs(new))
    if bool(section.specs(old)) != present:
        fixed = all(f.metadata.get("restart") for f in option_fields(section.spec).values())
        effect = Effect.RESTART if fixed else Effect.NOW
        yield Change(section.kind, "", "added" if present else "removed", (), (), effect)
    yield from _keys(section.kind, getattr(old, section.field), getattr(new, section.field))


def successor(old: Any, specs: Iterable[Any]) -> Any:
    """Return the spec among ``specs`` that continues ``old``, or None.

    It has the same name and, if it has a mode, the same mode.
    """
    for spec in specs:
        if spec.name == old.name:
            return spec if getattr(spec, "mode", "") == getattr(old, "mode", "") else None
    return None


def listener_key(spec: ListenSpec) -> tuple[Any, ...]:
    """Return the identity of a listener: lines with the same key are the same socket."""
    address = spec.address
    return (spec.endpoint,) if address is None else attrs.astuple(address)


@frozen
class ServerMoves:
    """The effect of a change on the servers of a backend; names are in configuration order.

    A server continues (``changed`` or ``kept``) if its name and address stay. With another address
    it is ``removed`` and ``added``.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]


def server_moves(old: Iterable[ServerSpec], new: Iterable[ServerSpec]) -> ServerMoves:
    """Compare two lists of servers."""
    before = {spec.name: spec for spec in old}
    after = {spec.name: spec for spec in new}
    stays = {n for n, spec in before.items() if n in after and after[n].target == spec.target}
    return ServerMoves(
        added=tuple(name for name in after if name not in stays),
        removed=tuple(name for name in before if name not in stays),
        changed=tuple(name for name in after if name in stays and after[name] != before[name]),
        kept=tuple(name for name in after if name in stays and after[name] == before[name]),
    )


# -- sections and keys -------------------------------------------------------------------------


def _by_title(section: Section, specs: Iterable[Any]) -> dict[str, Any]:
    return {section.title_of(spec): spec for spec in specs}


def _sections(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for title, before in old.items():
        after = new.get(title)
        if after is None or successor(before, [after]) is None:
            yield Change(title, "", "removed", (), (), _gone(before))
        elif after != before:
            yield from _keys(title, before, after)
    for title, after in new.items():
        before = old.get(title)
        if before is None or successor(before, [after]) is None:
            yield Change(title, "", "added", (), (), Effect.NOW)


def _gone(spec: Any) -> Effect:
    return Effect.DRAIN if isinstance(spec, FrontendSpec | BackendSpec) else Effect.NOW


def _keys(title: str, old: Any, new: Any) -> Iterator[Change]:
    shown_old, shown_new = masked(old), masked(new)
    for name, f in option_fields(type(old)).items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            shown = (getattr(shown_old, name), getattr(shown_new, name))
            lines = _lines(f.metadata["kind"], before, after, *shown)
            yield Change(title, label(f), "changed", *lines, _effect(old, name, f.metadata))


def _effect(spec: Any, key: str, facts: Mapping[str, Any]) -> Effect:
    if facts.get("restart"):
        return Effect.RESTART
    if key == "listen":
        return Effect.LISTEN
    if key == "servers":
        return Effect.SERVERS
    return Effect.NEXT if isinstance(spec, FrontendSpec) or key == "filters" else Effect.NOW


def _lines(
    kind: str, old: Any, new: Any, shown_old: Any, shown_new: Any
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lines that differ, for lists only those, without secrets."""
    before, after, shown_before, shown_after = (
        tuple(value_kind(kind).parts(value)) for value in (old, new, shown_old, shown_new)
    )
    if before == after:  # the code of a plugin
        pairs = zip(_items(old), _items(new), shown_before, strict=True)
        changed = tuple(line for a, b, line in pairs if a != b)
        return changed, changed
    gone, come = shown_before, shown_after
    if isinstance(old, tuple):
        gone = come = ()
        for what, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            if what != "equal":
                gone += shown_before[a:b]
                come += shown_after[c:d]
    if gone == come:
        come = tuple(f"{line}  (another secret)" for line in come)
    return gone, come


def _items(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
