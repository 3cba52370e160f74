"""Sphinx builds the documentation, and the manual pages lbproxy(1) and lb.ini(5)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lbproxy import __version__
from lbproxy.cli import main

from .pages import DOCS

pytestmark = pytest.mark.sphinx

PAGES = ("lbproxy.1", "lb.ini.5")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what Sphinx builds; it reads the pages once for all builders."""
    return tmp_path_factory.mktemp("sphinx")


def sphinx(made: Path, builder: str, *options: str) -> Path:
    """Run a builder; return the folder with its output."""
    words = ["-q", "-b", builder, "-d", str(made / "doctrees"), "-D", "html_theme=basic"]
    command = [sys.executable, "-m", "sphinx", *words, *options, str(DOCS), str(made / builder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return made / builder


@pytest.fixture(scope="module")
def folder(made: Path) -> Path:
    """The pages as ``make man`` builds them."""
    return sphinx(made, "man")


def test_sphinx_builds_without_a_warning(made: Path) -> None:
    sphinx(made, "dummy", "-W", "-E")  # -E: whatever another builder has read


def plain(path: Path) -> str:
    """A page without most of its markup."""
    text = path.read_text(encoding="utf-8")
    for markup, meant in ((r"\fB", ""), (r"\fP", ""), (r"\-", "-"), (r"\&", ""), (r"\(aq", "'")):
        text = text.replace(markup, meant)
    return text


@pytest.mark.parametrize("name", PAGES)
def test_the_version_is_current(name: str, folder: Path) -> None:
    assert f'"{__version__}"' in plain(folder / name)
    assert "%<>" not in plain(folder / name), "a reference to another page without its text"


def test_every_command_is_there(folder: Path) -> None:
    text = plain(folder / "lbproxy.1")
    missing = [one for one in main.list_commands(None) if f"lbproxy {one}" not in text]  # type: ignore[arg-type]
    assert not missing


def test_every_key_is_there(folder: Path) -> None:
    lines = [line.removeprefix(".B ") for line in plain(folder / "lb.ini.5").splitlines()]
    keys = set(re.findall(r"^``([a-z_]+)``$", (DOCS / "reference.rst").read_text(), re.MULTILINE))
    assert len(keys) > 100
    assert not keys - set(lines)


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man")
@pytest.mark.parametrize("name", PAGES)
def test_man_reads_it(name: str, folder: Path) -> None:
    command = ["man", "--warnings", "-l", str(folder / name)]
    environment = {"LANG": "C.UTF-8", "MANWIDTH": "80", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0 and "lbproxy" in done.stdout
    assert "error" not in done.stderr
