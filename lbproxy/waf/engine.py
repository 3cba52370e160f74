"""PURE. Compiles rules and evaluates requests."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from attrs import field, frozen

from lbproxy.waf.decode import decoded, view_of
from lbproxy.waf.rule import Rule, View, Zone
from lbproxy.waf.target import Part, Parts, joined

__all__ = ["NOTHING", "Engine", "Excluded", "Hit", "MissingEngine", "Verdict", "compiled_pattern"]

MOST_HITS: Final = 1000
"""Maximum number of matches of one rule in one zone that are examined for one that is not excluded.
After them the next match counts; otherwise a client could hide it behind many excluded ones.
"""

MOST_CLEAN: Final = 1000
"""Maximum number of cached harmless texts of a zone; browsers repeat their headers."""

LONGEST_CLEAN: Final = 2048

LONG: Final = 4096
"""Length in bytes from which the letters of a text are checked before its words."""

SHOWN: Final = 80
"""Maximum length of a shown match in bytes."""


class MissingEngine(ValueError):
    """The firewall cannot work: a library is not installed, or rules cannot be loaded."""


@frozen
class Hit:
    """A rule that matched. ``part``: such as ``ARGS:q``. ``text``: the match of the pattern."""

    rule: Rule
    part: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule.id} {self.rule.message} in {self.part}"


@frozen
class Verdict:
    """The rules that matched, and the sum of their severities."""

    hits: tuple[Hit, ...] = ()
    score: int = field(init=False)

    @score.default
    def _sum(self) -> int:
        return sum(hit.rule.severity for hit in self.hits)

    def __add__(self, other: Verdict) -> Verdict:
        known = {hit.rule.id for hit in self.hits}
        return Verdict(self.hits + tuple(hit for hit in other.hits if hit.rule.id not in known))


NOTHING: Final = Verdict()

Excluded = Callable[[int, str], bool]
"""Returns whether a rule is excluded for a part."""


def compiled_pattern(pattern: str) -> Any:
    """Compile a pattern for bytes with linear time. Raises MissingEngine, or ValueError for invalid
    syntax.
    """
    try:
        re2 = importlib.import_module("re2")
    except ImportError:
        message = "the firewall needs google-re2: install lbproxy[waf]"
        raise MissingEngine(message) from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 16 << 20
    try:
        return re2.compile(f"(?m:{pattern})".encode("latin-1"), options)
    except re2.error as error:
        raise ValueError(f"pattern {pattern!r}: {error}") from None


class _Compiled:
    """A compiled rule."""

    __slots__ = ("rule", "search", "words")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.search = compiled_pattern(rule.pattern).search
        self.words = tuple(word.encode("latin-1") for word in rule.words)


class Engine:
    """The rules up to a paranoia level."""

    def __init__(self, rules: Iterable[Rule], paranoia: int = 1) -> None:
        self._by_zone: dict[Zone, list[tuple[View, list[_Compiled]]]] = {}
        chosen = [_Compiled(rule) for rule in rules if rule.paranoia <= paranoia]
        for zone in Zone:
            by_view = [
                (view, [one for one in chosen if one.rule.view is view and zone in one.rule.zones])
                for view in View
            ]
            self._by_zone[zone] = [pair for pair in by_view if pair[1]]
        self._clean: set[tuple[Zone, bytes]] = set()
        self.count = len(chosen)

    def judge(self, parts: Parts, excluded: Excluded | None = None) -> Verdict:
        """Return the verdict for the parts of a request."""
        hits: dict[int, Hit] = {}
        for zone, some in parts.items():
            if some:
                self._judge_zone(zone, some, excluded, hits)
        return Verdict(tuple(hits.values())) if hits else NOTHING

    def _judge_zone(
        self, zone: Zone, parts: Sequence[Part], excluded: Excluded | None, hits: dict[int, Hit]
    ) -> None:
        raw = joined(parts)
        if (zone, raw) in self._clean:
            return
        before = len(hits)
        matched = self._run(zone, raw, parts, excluded, hits)
        if not matched and len(hits) == before and len(raw) <= LONGEST_CLEAN:
            if len(self._clean) >= MOST_CLEAN:
                self._clean.clear()
            self._clean.add((zone, raw))

    def _run(
        self,
        zone: Zone,
        raw: bytes,
        parts: Sequence[Part],
        excluded: Excluded | None,
        hits: dict[int, Hit],
    ) -> bool:
        """Run the rules of a zone; return whether any pattern matched, or was not tried."""
        plain: bytes | None = None
        matched = False
        names: list[str] = []
        text, known = raw, _Words(raw)
        for view, rules in self._by_zone[zone]:
            if view is not View.RAW:
                if plain is None:
                    plain = decoded(raw)
                form = view_of(view, plain)
                if form is not text and form != text:
                    text, known = form, _Words(form)
            for one in rules:
                if one.words and not known.has_one(one.words):
                    continue
                if one.rule.id in hits:
                    matched = True
                    continue
                first = one.search(text)
                if first is None:
                    continue
                matched = True
                names = names or _names(parts)
                found = _find(one, first, text, names, excluded)
                if found is not None:
                    hits[one.rule.id] = found
        return matched


class _Words:
    """The words in a text, as far as rules have tested them."""

    __slots__ = ("_known", "_letters", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._known: dict[bytes, bool] = {}
        self._letters = frozenset(text) if len(text) > LONG else None

    def has_one(self, words: tuple[bytes, ...]) -> bool:
        """Return whether the text contains one of ``words``."""
        known, text, letters = self._known, self._text, self._letters
        for word in words:
            found = known.get(word)
            if found is None:
                found = (letters is None or letters.issuperset(word)) and word in text
                known[word] = found
            if found:
                return True
        return False


def _names(parts: Sequence[Part]) -> list[str]:
    """Return the name of the part of each line."""
    found: list[str] = []
    for name, value in parts:
        found += [name] * (1 + value.count(b"\n"))
    return found


def _find(
    one: _Compiled, match: Any, text: bytes, names: Sequence[str], excluded: Excluded | None
) -> Hit | None:
    """Return the first match in a part to which the rule applies. ``match`` is the first of all
    matches.
    """
    line = counted = 0
    known: dict[str, bool] = {}
    for place in range(MOST_HITS + 1):
        begin = match.start()
        line += text.count(b"\n", counted, begin)
        counted = begin
        name = names[min(line, len(names) - 1)]
        if name not in known:
            known[name] = excluded is not None and excluded(one.rule.id, name)
        if not known[name] or place == MOST_HITS:
            shown = text[begin : min(match.end(), begin + SHOWN)]
            return Hit(one.rule, name, shown.decode("utf-8", "replace"))
        start = text.find(b"\n", begin)
        match = one.search(text, start) if start >= 0 else None
        if match is None:
            return None
    return None
