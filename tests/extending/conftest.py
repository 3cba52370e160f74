"""Install extensions for one test, as a package with entry points would."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from lbproxy.config.lines import LINES
from lbproxy.config.sections import SECTIONS
from lbproxy.features import GROUP, forget_installed
from lbproxy.proxy.ratelog import Quiet

Install = Callable[[str, str, str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install(module, source, feature)`` puts a module with a feature class on the path and
    returns its folder.
    """
    sections, lines = dict(SECTIONS), dict(LINES)

    def make(module: str, source: str, feature: str) -> Path:
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{module} = {module}:{feature}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        forget_installed()
        return tmp_path

    yield make
    SECTIONS.clear()
    SECTIONS.update(sections)
    LINES.update(lines)
    monkeypatch.undo()
    forget_installed()
    for name in [name for name, one in sys.modules.items() if _is_in(one, tmp_path)]:
        del sys.modules[name]


def _is_in(module: object, folder: Path) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(str(folder))


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The exceptions that were logged, by name of their class; all of them."""
    monkeypatch.setattr(Quiet, "_due", lambda self, kind: 0)
    found: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_failure") is not None:
            found.append(event["log_failure"].type.__name__)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)
