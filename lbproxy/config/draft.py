"""PURE. A configuration while it is being built: sections with the keys read so far, and what went wrong.

Filled by :mod:`lbproxy.config.build`, judged by the checks of :mod:`lbproxy.config.sections`.
"""

from __future__ import annotations

from typing import Any

import attrs
from attrs import define, field

from lbproxy.model import Mode, Where

__all__ = ["Draft", "Drafts"]


@define(eq=False)
class Draft:
    """One section; ``spec`` is its model class.

    ``values``: keys that were written and are right; ``lines``: where each written key stands;
    ``broken``: written keys with a mistake, about which nothing more is said; ``inherited``: keys of a
    ``[defaults]``, with the mode it is for or "any".
    ``shown``: the header it was written under, if that is another one; ``elsewhere``: the same of single lines.
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
        """As errors name it."""
        return self.shown or f"{self.kind} {self.name}".strip()

    def title_at(self, where: Where) -> str:
        """As errors about the line ``where`` name the section."""
        return self.elsewhere.get(where, self.title)

    @property
    def mode(self) -> Mode:
        """The mode written, else a frontend's default."""
        mode: Mode = self.values.get("mode") or "http"
        return mode

    def get(self, key: str, default: Any = ()) -> Any:
        """The value read, or ``default``."""
        return self.values.get(key, default)

    def line(self, key: str) -> Where:
        """Where ``key`` stands, or the section."""
        return self.lines.get(key, self.where)

    def finish(self) -> Any:
        """The spec of this section."""
        extra = {"name": self.name} if "name" in attrs.fields_dict(self.spec) else {}
        return self.spec(**self.values, **extra, where=self.where)


@define(eq=False)
class Drafts:
    """All sections.  ``doubtful`` are (kind, name) of sections whose header has a mistake."""

    all: list[Draft] = field(factory=list)
    doubtful: set[tuple[str, str]] = field(factory=set)
    _index: dict[tuple[str, str], Draft] = field(factory=dict)

    def add(self, draft: Draft) -> None:
        """Take a section that is not there yet."""
        self.all.append(draft)
        self._index[draft.kind, draft.name] = draft

    def find(self, kind: str, name: str) -> Draft | None:
        """The section ``[kind name]``."""
        return self._index.get((kind, name))

    def of(self, kind: str) -> list[Draft]:
        """The sections of one kind, in order."""
        return [draft for draft in self.all if draft.kind == kind]

    def names(self, kind: str) -> set[str]:
        """Names that may be referred to, doubtful ones included."""
        doubtful = {name for k, name in self.doubtful if k == kind}
        return {draft.name for draft in self.of(kind)} | doubtful
