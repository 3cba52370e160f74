"""The budgets file: the highest figures each row may have, with which versions, and why they rose.

A rise must be written to the file, with a reason, in the commit that causes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from configparser import ConfigParser
from pathlib import Path

from attrs import evolve, field, frozen

from tests.count.measure import Figure

__all__ = ["BUDGETS", "CALLS", "RISE", "Budget", "complaints", "parse", "render", "unexplained"]

BUDGETS = Path(__file__).with_name("budgets.ini")

RISE = 0.03
"""Highest rise of instructions, as a share."""

CALLS = 0.5
"""Highest rise of system calls per unit: less than one call, more than the noise."""

_HEADER = """\
# Instructions and system calls per unit that each row of make count may cost.
# make count REASON="why figures rise" writes this file; make count CHECK=1 compares with it.
"""


@frozen
class Budget:
    """``rows``: instructions and system calls by row.  ``reasons``: one per rise, oldest first."""

    versions: Mapping[str, str] = field(factory=dict)
    reasons: tuple[str, ...] = ()
    rows: Mapping[str, tuple[float, float]] = field(factory=dict)

    def with_figures(
        self, figures: Iterable[Figure], versions: Mapping[str, str], reason: str
    ) -> Budget:
        """Return a budget with these figures; rows that were not counted keep theirs."""
        rows = {**self.rows, **{f.row: (f.instructions, f.calls) for f in figures}}
        return evolve(self, versions=versions, reasons=(*self.reasons, reason), rows=rows)


def parse(text: str) -> Budget:
    """Read a budgets file; ValueError or configparser.Error if it is none."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    rows = {}
    for name, value in parser["rows"].items():
        instructions, calls = value.replace(",", "").split()
        rows[name] = (float(instructions), float(calls))
    return Budget(dict(parser["versions"]), tuple(parser["reasons"].values()), rows)


def render(budget: Budget) -> str:
    """Write a budgets file; :func:`parse` reads it."""
    lines = [_HEADER, "[versions]"]
    lines += [f"{name} = {version}" for name, version in budget.versions.items()]
    lines += ["", "[reasons]"]
    lines += [f"{number} = {reason}" for number, reason in enumerate(budget.reasons, 1)]
    lines += ["", "[rows]"]
    width = max(map(len, budget.rows), default=0)
    for name, (instructions, calls) in budget.rows.items():
        lines.append(f"{name:<{width}} = {instructions:>9,.0f} {calls:>6.2f}")
    return "\n".join(lines) + "\n"


def complaints(
    allowed: Mapping[str, tuple[float, float]], figures: Iterable[Figure], what: str = "budget"
) -> list[str]:
    """Return one line for each figure above what is ``allowed``, or not in it."""
    found = []
    for figure in figures:
        if figure.row not in allowed:
            found.append(f"{figure.row}: the {what} has no such row")
            continue
        instructions, calls = allowed[figure.row]
        rise = figure.instructions / instructions - 1
        if rise > RISE:
            found.append(
                f"{figure.row}: {figure.instructions:,.0f} instructions are {rise:.1%}"
                f" above the {what} of {instructions:,.0f}"
            )
        if figure.calls > calls + CALLS:
            found.append(
                f"{figure.row}: {figure.calls:.2f} system calls are more than the {what}"
                f" of {calls:.2f}"
            )
    return found


def raised(old: Budget, new: Budget) -> list[str]:
    """Return the rows that cost more in ``new``."""
    return [
        row
        for row, (instructions, calls) in new.rows.items()
        if row in old.rows
        and (instructions > old.rows[row][0] * (1 + RISE) or calls > old.rows[row][1] + CALLS)
    ]


def unexplained(old: Budget, new: Budget) -> list[str]:
    """Return one line per row whose budget rose from ``old`` to ``new`` without a new reason."""
    if set(new.reasons) - set(old.reasons):
        return []
    return [f"{row}: its budget rose, and [reasons] has no new line" for row in raised(old, new)]
