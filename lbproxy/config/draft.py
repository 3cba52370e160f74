"""PURE. A configuration under construction: sections with the keys read so far, and their errors.

:mod:`lbproxy.config.build` fills it, and the checks of :mod:`lbproxy.config.sections` validate it.
"""

from __future__ import annotations

from typing import Any

import attrs
from attrs import define, field

from lbproxy.model import Mode, Where

__all__ = ["Draft", "Drafts"]


@define(eq=False)
class Draft:
    """One section. ``spec`` is its model class.

    ``values``: valid keys that were written, and the valid lines of keys with several lines.
    ``lines``: position of each written key. ``broken``: written keys with an error; checks treat
    them as unknown. ``inherited``: keys of a ``[defaults]``, with their mode or "any". ``shown``:
    header under which it was written, if that is another one. ``elsewhere``: the same for single
    lines.
    """

    kind: str
    name: str
    spec: type[Any]
    where: Where
    values: dict[str, Any] = field(factory=dict)
    lines: dict[str, Where] = field(factory=dict)
    broken: set[str] = field(factory=set)
    inherited: dict[str, str] = field(factory=dict)
    shown: str = ""
    elsewhere: dict[Where, str] = field(factory=dict)

    @property
    def title(self) -> str:
        """The section's name in errors."""
        return self.shown or f"{self.kind} {self.name}".strip()

    def title_at(self, where: Where) -> str:
        """Return the section's name in errors about the line ``where``."""
        return self.elsewhere.get(where, self.title)

    @property
    def mode(self) -> Mode:
        """The written mode, or a frontend's default; ``corsproxy`` counts as ``http``."""
        return "tcp" if self.values.get("mode") == "tcp" else "http"

    def get(self, key: str, default: Any = ()) -> Any:
        """Return the value of a key, or ``default``."""
        return self.values.get(key, default)

    def line(self, key: str) -> Where:
        """Return the position of ``key``, or of the section."""
        return self.lines.get(key, self.where)

    def finish(self) -> Any:
        """Create the spec of this section."""
        extra = {"name": self.name} if "name" in attrs.fields_dict(self.spec) else {}
        return self.spec(**self.values, **extra, where=self.where)


@define(eq=False)
class Drafts:
    """All sections. ``doubtful``: (kind, name) of sections with an error in their header."""

    all: list[Draft] = field(factory=list)
    doubtful: set[tuple[str, str]] = field(factory=set)
    _index: dict[tuple[str, str], Draft] = field(factory=dict)

    def add(self, draft: Draft) -> None:
        """Add a section that does not exist yet."""
        self.all.append(draft)
        self._index[draft.kind, draft.name] = draft

    def find(self, kind: str, name: str) -> Draft | None:
        """Return the section ``[kind name]``."""
        return self._index.get((kind, name))

    def of(self, kind: str) -> list[Draft]:
        """Return the sections of one kind, in order."""
        return [draft for draft in self.all if draft.kind == kind]

    def names(self, kind: str) -> set[str]:
        """Return the names that may be referred to, including doubtful ones."""
        doubtful = {name for k, name in self.doubtful if k == kind}
        return {draft.name for draft in self.of(kind)} | doubtful
