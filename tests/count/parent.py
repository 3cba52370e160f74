"""Count another tree on this machine: the parent commit, where the budgets are those of other
versions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.count.budget import BUDGETS, Budget, parse

__all__ = ["NoParent", "counted_in", "parent_budget", "parent_rows"]

ROOT = Path(__file__).resolve().parents[2]


class NoParent(Exception):
    """The parent commit is not here, or cannot count; the message says why."""


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise NoParent(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def parent_budget() -> Budget:
    """Return the budgets that the working tree began with: those of HEAD if it changed them."""
    name = str(BUDGETS.relative_to(ROOT))
    return parse(_git("show", f"{_base()}:{name}"))


def parent_rows(rows: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Compile the parent commit in a temporary folder and count these rows of it."""
    with TemporaryDirectory(prefix="lbproxy-parent-") as folder, _checkout(Path(folder)) as root:
        return counted_in(root, rows)


def counted_in(root: Path, rows: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Compile the tree in ``root`` and count these rows of it; NoParent with the output if that
    fails.
    """
    env = {**os.environ, "PYTHONPATH": str(root), "LBPROXY_COMPILED": "1"}
    for command in (
        ["setup.py", "-q", "build_ext", "--inplace"],
        ["-m", "tests.count", "--json", "counted.json", *rows],
    ):
        done = subprocess.run(
            [sys.executable, *command], cwd=root, env=env, capture_output=True, text=True
        )
        if done.returncode:
            raise NoParent(f"{root.name}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    found = json.loads((root / "counted.json").read_text())
    return {row["row"]: (row["instructions"], row["calls"]) for row in found}


def _base() -> str:
    """The commit that the working tree is compared with."""
    return "HEAD" if _git("status", "--porcelain", "--untracked-files=no").strip() else "HEAD^"


@contextmanager
def _checkout(folder: Path) -> Iterator[Path]:
    root = folder / "tree"
    _git("worktree", "add", "--detach", str(root), _base())
    try:
        yield root
    finally:
        _git("worktree", "remove", "--force", str(root))
