"""The commands that make packages: each runs as it is documented, and what it makes serves."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.lb_process import ROOT

pytestmark = [pytest.mark.live, pytest.mark.long]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files under version control, as they are now, in a repository of their own."""
    folder = tmp_path_factory.mktemp("clone")
    script = (
        f"cd {ROOT} && git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t {folder}"
    )
    subprocess.run(["sh", "-c", script], check=True)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def make(clone: Path, *words: str) -> str:
    """Run a target with this Python, in an environment that knows nothing of this run."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "LBPROXY_COMPILED", "MAKEFLAGS", "MAKELEVEL")
    }
    base = f"PYTHON={sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    done = subprocess.run(
        ["make", base, *words],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_make_sdist(clone: Path) -> None:
    said = make(clone, "sdist")
    assert "installs and serves (lbproxy " in said
    (made,) = (clone / "dist").glob("lbproxy-*.tar.gz")
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "docs/man/lbproxy.1", "tests/conftest.py", "setup.py"} <= names


def test_make_wheel_in_pure_python(clone: Path) -> None:
    make(clone, "wheel", "COMPILED=0")
    (made,) = (clone / "dist").glob("lbproxy-*-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(made).namelist() if name.endswith(".so")]


def test_make_wheels(clone: Path) -> None:
    """For one Python: compiled, repaired, installed in a fresh environment, serving."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    said = make(clone, "wheels", f"PYTHONS={version}")
    assert f"python{version}: lbproxy-" in said
    assert "installs and serves (lbproxy " in said and "(compiled)" in said
    assert "dist has 1 new wheel\n" in said
    (made,) = (clone / "dist").glob("lbproxy-*manylinux*.whl")
    assert f"cp{version.replace('.', '')}" in made.name
