"""DATA. The files of a rule set: the set-up file, the rules, and exclusions beside the set-up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

__all__ = ["RuleFiles", "Stamp", "rule_files"]

SYSTEM_SETUP: Final = "/etc/modsecurity/crs/crs-setup.conf"
"""The set-up file of Debian's package ``modsecurity-crs``."""

_ID: Final = re.compile(r"""\bid:\s*'?(\d{1,9})""")

Stamp = tuple[tuple[str, int, int], ...]
"""Name, time of change in nanoseconds and size of each file."""


@frozen
class RuleFiles:
    """Paths in the order in which they are loaded.

    ``setup``: the set-up file. ``before``: ``REQUEST-900*`` beside it. ``rules``: those of the
    folder. ``after``: ``RESPONSE-999*`` beside the set-up file.
    """

    folder: Path
    setup: Path
    before: tuple[Path, ...]
    rules: tuple[Path, ...]
    after: tuple[Path, ...]

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file with directives."""
        return (self.setup, *self.before, *self.rules, *self.after)

    def stamp(self, more: str = "") -> Stamp:
        """Return a stamp that changes if a file with rules or data, or ``more``, changes."""
        paths = [*self.all, *sorted(self.folder.glob("*.data")), *([Path(more)] if more else [])]
        return tuple(_stamps(paths))

    def ids(self) -> frozenset[int]:
        """Return the ids of all rules. Raises OSError."""
        found: set[int] = set()
        for path in self.all:
            found.update(map(int, _ID.findall(path.read_text("utf-8", "replace"))))
        return frozenset(found)


def _stamps(paths: list[Path]) -> Iterator[tuple[str, int, int]]:
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            yield str(path), 0, -1
        else:
            yield str(path), status.st_mtime_ns, status.st_size


def rule_files(folder: str, setup: str = "", system: str = SYSTEM_SETUP) -> RuleFiles:
    """Find the files of the rule set in ``folder``, or in its folder ``rules``.

    ``setup``: its set-up file, "" to search for one. Raises ValueError if a file is missing.
    """
    top = Path(folder)
    if not top.is_dir():
        raise ValueError(f"rules: there is no folder {folder}")
    inner = top / "rules" if any((top / "rules").glob("*.conf")) else top
    first = _setup(top, setup, system)
    rules = tuple(path for path in sorted(inner.glob("*.conf")) if path.name != "crs-setup.conf")
    if not rules:
        raise ValueError(f"rules: there are no files *.conf in {inner}")
    beside = [] if first.parent == inner else sorted(first.parent.glob("*.conf"))
    return RuleFiles(
        inner,
        first,
        tuple(path for path in beside if path.name.startswith("REQUEST-900")),
        rules,
        tuple(path for path in beside if path.name.startswith("RESPONSE-999")),
    )


def _setup(top: Path, setup: str, system: str) -> Path:
    if setup:
        if not Path(setup).is_file():
            raise ValueError(f"setup: there is no file {setup}")
        return Path(setup)
    own, example = top / "crs-setup.conf", top / "crs-setup.conf.example"
    if own.is_file():
        return own
    if example.is_file():
        raise ValueError(
            f"rules: {top} has no crs-setup.conf yet; copy its example: cp {example} {own}"
        )
    if Path(system).is_file():
        return Path(system)
    raise ValueError(
        f"rules: there is no set-up file, neither {own} nor {system}; name it with 'setup = FILE'"
    )
