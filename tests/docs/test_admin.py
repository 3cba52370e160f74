"""The pages about the admin side name what there is, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import click
import pytest

from lbproxy.admin.parts import PARTS
from lbproxy.admin.parts.metrics import families
from lbproxy.cli import main
from tests.admin.kit import TEXT, admin

from .pages import DOCS


def commands(command: Any = main, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command, as it is typed."""
    if not isinstance(command, click.Group):
        yield " ".join(words)
        return
    context = click.Context(command)
    for name in command.list_commands(context):  # groups import their commands when asked
        yield from commands(command.get_command(context, name), (*words, name))


def test_every_command_is_described() -> None:
    page = (DOCS / "commands.rst").read_text(encoding="utf-8")
    known = set(commands())
    for name in known - {"check", "explain"}:
        assert f"``lbproxy {name}" in page, name
    for shown in re.findall(r"``lbproxy ([a-z ]+)", page):
        words = shown.split()
        assert {" ".join(words[:n]) for n in (1, 2)} & known, shown


NAME = re.compile(r"\b(?:lbproxy|process|python)_[a-z_]+\b")
ENDINGS = ("", "_bucket", "_sum", "_count")


SHARED = "\n[shared]\nredis = redis://10.9.9.9/0\n"


def every_metric() -> dict[str, Any]:
    """Every metric by the name that queries use."""
    with admin(TEXT + SHARED) as client:
        return {one.shown: one for one in families(client.lb.service.admin)}


def test_every_metric_is_described() -> None:
    page = (DOCS / "metrics.rst").read_text(encoding="utf-8")
    metrics = every_metric()
    for name, one in metrics.items():
        labels = f" ({', '.join(one.labels)})" if one.labels else ""
        text = f"``{name}``{labels}\n    {one.kind.capitalize()}. {one.help}\n"
        assert text in page, f"docs/metrics.rst needs:\n{text}"
    assert set(re.findall(r"^``((?:lbproxy|process|python)_\w+)``", page, re.MULTILINE)) == set(
        metrics
    )


@pytest.mark.parametrize("name", ["grafana.json", "prometheus-alerts.yml"])
def test_examples_ask_for_metrics_that_exist(name: str) -> None:
    text = (DOCS / "examples" / name).read_text(encoding="utf-8")
    metrics = every_metric()
    known = {
        metric + ending
        for metric, one in metrics.items()
        for ending in (ENDINGS[1:] if one.kind == "histogram" else ENDINGS[:1])
    }
    used = set(NAME.findall(text))
    assert len(used) >= 10
    assert used <= known, used - known
    for metric, labels in re.findall(r"(\w+)\{([^{}]*)\}", text.replace('\\"', '"')):
        base = re.sub("_(bucket|sum|count)$", "", metric)
        if base in metrics:
            asked = set(re.findall(r"(\w+)(?:=~|!=|=)", labels))
            assert asked <= set(metrics[base].labels), f"{metric}: {labels}"
    if name.endswith(".json"):
        ids = [panel["id"] for panel in json.loads(text)["panels"]]
        assert len(set(ids)) == len(ids)


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
