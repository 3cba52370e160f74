"""The pages about the admin side name what there is, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lbproxy.admin.parts import PARTS
from lbproxy.cli import main

from .pages import DOCS


def commands(command: Any = main, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command, as it is typed."""
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(words)
        return
    for name, child in children.items():
        yield from commands(child, (*words, name))


def test_every_command_is_described() -> None:
    page = (DOCS / "commands.rst").read_text(encoding="utf-8")
    known = set(commands())
    for name in known - {"check", "explain"}:
        assert f"``lbproxy {name}" in page, name
    for shown in re.findall(r"``lbproxy ([a-z ]+)", page):
        words = shown.split()
        assert {" ".join(words[:n]) for n in (1, 2)} & known, shown


def test_every_route_is_described() -> None:
    page = (DOCS / "admin.rst").read_text(encoding="utf-8")
    for part in PARTS:
        for route in part.routes:
            if not route.path.startswith(("/api/", "/metrics")):
                continue  # files of the dashboard
            path = re.sub(r"\{(\w+)\}", lambda m: "ID" if m[1] == "id" else "NAME", route.path)
            short = path.removeprefix("/api/v1")
            tail = "..." + re.sub(r".*(/servers/NAME)", r"\1", path)
            assert any(
                f"``{m}{p}``" in page for m in (f"{route.method} ", "") for p in (path, short, tail)
            ), f"{route.method} {path}"
