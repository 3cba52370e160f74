"""What the repository promises to newcomers: the commands of the README, packages and forms."""

from __future__ import annotations

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from setuptools.command.egg_info import FileList

from lbproxy.cli import demo

from .pages import DOCS, ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RUN = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
RUN_TARGET = MAKEFILE.partition("$(VENV)/.run:")[2].partition("$(VENV)/.test:")[0]
URL = "https://git.example/lbproxy"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def setup() -> ConfigParser:
    found = ConfigParser()
    found.read(ROOT / "setup.cfg")
    return found


def test_ci_runs_the_command_of_the_readme_in_a_fresh_clone() -> None:
    """Unchanged, with whatever it compiles; and all tests in pure Python besides."""
    assert re.search(r"^   \$ make test  ", read("README.rst"), re.MULTILINE)
    lines = RUN.splitlines()
    clone = next(at for at, line in enumerate(lines) if line.startswith("git clone -q ."))
    unset = next(at for at, line in enumerate(lines) if line.startswith("unset LBPROXY_COMPILED"))
    command, pure = (
        lines.index("stage test make test"),
        lines.index("stage pure make test COMPILED=0"),
    )
    assert clone < unset < command < pure
    assert "TESTS=" not in RUN and "export LBPROXY_COMPILED" not in RUN


def test_the_dashboard_of_the_demo_can_be_opened_where_make_run_installs_it() -> None:
    """The tour names ``lbproxy top``, which needs ``rich``."""
    assert "{command} top" in demo._TOUR
    assert "[fast,cli,guard]" in RUN_TARGET
    assert "rich" in setup()["options.extras_require"]["cli"]


def test_the_page_of_the_demo_works_where_make_run_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls a CORS proxy, which needs ``ada-url``; without it the tour names no page."""
    assert "ada-url" in setup()["options.extras_require"]["guard"] and "guard" in RUN_TARGET
    assert "a page that calls" in demo.Demo(None, tmp_path, 0).tour()
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    made = demo.Demo(None, tmp_path, 0)
    assert f"127.0.0.1:{made.ports['page']}/" not in made.tour()
    assert "lbproxy[guard]" in made.tour()


def test_the_tour_needs_bash_and_curl_only() -> None:
    tour = demo._TOUR.partition("Try, in another terminal:")[2]
    programs = {line.split()[0] for line in tour.splitlines() if line.startswith("  ")}
    assert programs == {"bash", "curl", "{command}"}


# -- packages --------------------------------------------------------------------------------------


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import metadata  # type: ignore[import-not-found]

    return metadata


def test_pictures_have_an_absolute_address(metadata: Any) -> None:
    readme = ROOT / "README.rst"
    assert metadata.PICTURE.search(readme.read_text(encoding="utf-8"))
    paths = re.findall(r"\.\. image:: (\S+)", metadata.description(readme, URL))
    assert paths
    for path in paths:
        assert path.startswith(f"{URL}/raw/main/")
        assert (ROOT / path.removeprefix(f"{URL}/raw/main/")).is_file()
    assert ".. image::" not in metadata.description(readme, "")


def test_addresses_lead_to_files(metadata: Any) -> None:
    found = metadata.addresses(URL)
    assert {"Source", "Documentation", "Changelog", "Issues", "Security"} == set(found)
    for address in found.values():
        _, blob, path = address.partition("/blob/main/")
        assert not blob or (ROOT / path).is_file(), address
    assert metadata.addresses("") == {}


def test_supported_versions_of_python() -> None:
    found = setup()
    classifiers = found["metadata"]["classifiers"]
    named = re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    assert named == ["3.11", "3.12", "3.13", "3.14"]
    assert found["options"]["python_requires"] == ">=3.11"
    tool = read("tools/wheels.py")
    assert 'VERSIONS = ("3.11", "3.12", "3.13")' in tool and "auditwheel" in tool
    assert "Python 3.14 installs\nbut has not been tried." in read("CONTRIBUTING.rst")


def test_the_source_distribution_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file under version control but for what only the forge and a builder read."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("no repository")
    monkeypatch.chdir(ROOT)
    files = FileList()
    for line in read("MANIFEST.in").splitlines():
        files.process_template_line(line)
    package = {"setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in"}  # what setuptools adds
    found = {str(Path(name)) for name in files.files} | package
    lacking = {
        name
        for name in listed
        if name not in found
        and not name.startswith(("lbproxy/", ".github/"))
        and name != ".gitignore"
    }
    assert not lacking


def test_what_is_not_python_in_the_package_is_installed() -> None:
    found = setup()["options.package_data"]["lbproxy"]
    patterns = [one.strip() for one in found.split(",")]
    root = ROOT / "lbproxy"
    installed = {path for pattern in patterns for path in root.glob(pattern)}
    there = {
        path
        for path in root.rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc", ".so")
        and path.name != "compiled.json"
    }
    assert there <= installed


# -- for contributors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SECURITY.rst", "report"),
        ("CONTRIBUTING.rst", "semantic versioning"),
        ("CONTRIBUTING.rst", "make wheels"),
        (".github/ISSUE_TEMPLATE/bug.yml", "lbproxy --version"),
        (".github/ISSUE_TEMPLATE/bug.yml", "secrets masked"),
        (".github/ISSUE_TEMPLATE/feature.yml", "description:"),
        (".github/ISSUE_TEMPLATE/config.yml", "blank_issues_enabled"),
    ],
)
def test_pages_for_contributors(name: str, words: str) -> None:
    if not (ROOT / ".github").is_dir():
        pytest.skip("the source distribution has no forms")
    assert words in read(name).lower().replace("\n", " ") or words in read(name)


def test_the_tickets_of_workers_are_documented_with_their_cost() -> None:
    """pyOpenSSL cannot set ticket keys, so a worker does not know those of another."""
    page = (DOCS / "tls.rst").read_text(encoding="utf-8")
    assert "ticket keys of its own" in page and ":doc:`performance`" in page
    costs = (DOCS / "performance.rst").read_text(encoding="utf-8")
    assert "TLS handshake, resumed" in costs
