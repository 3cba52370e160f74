"""The search for entry points of lbproxy in folders, without :mod:`importlib.metadata`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from lbproxy.entrypoints import forget_packages, installed

TEXT = "[console_scripts]\nx = x:main\n[lbproxy.balancers]\nmine = mine:Mine\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only place of packages."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if "Path" in str(f)])
    forget_packages()
    yield tmp_path
    forget_packages()


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if :mod:`importlib.metadata` is asked."""

    def never(**given: str) -> None:
        raise AssertionError(given)

    monkeypatch.setattr("importlib.metadata.entry_points", never)


def package(folder: Path, text: str, kind: str = "dist-info") -> None:
    info = folder / f"mine-1.0.{kind}"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(text)


@pytest.mark.parametrize("kind", ["dist-info", "egg-info"])
def test_a_package_is_found(folder: Path, kind: str) -> None:
    package(folder, TEXT, kind)
    assert [point.value for point in installed("lbproxy.balancers")] == ["mine:Mine"]
    assert installed("lbproxy.filters") == []


def test_without_plugins_metadata_is_not_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch)
    package(folder, "[console_scripts]\nlbproxy = lbproxy.cli:main\n")
    (folder / "old.egg-info").write_text("one file, as distutils wrote it")
    (folder / "empty.dist-info").mkdir()
    sys.path.append(str(folder / "missing.zip"))
    assert installed("lbproxy.balancers") == []


def test_a_package_in_an_archive_is_found(folder: Path) -> None:
    package(folder / "x", TEXT)
    with ZipFile(folder / "mine.zip", "w") as archive:
        for path in sorted((folder / "x").rglob("*")):
            archive.write(path, path.relative_to(folder / "x"))
    sys.path[:] = [str(folder / "mine.zip")]
    assert [point.value for point in installed("lbproxy.balancers")] == ["mine:Mine"]


def test_another_finder_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        @staticmethod
        def find_distributions(context: object) -> list[object]:
            return []

    sys.meta_path.append(Finder)  # type: ignore[arg-type]
    asked: list[str] = []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: asked.append(group) or [])
    assert installed("lbproxy.filters") == []
    assert asked == ["lbproxy.filters"]
