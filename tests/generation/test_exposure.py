"""Warnings for keys and secrets that everybody on the machine can read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from lbproxy.generation.exposure import is_exposed
from lbproxy.service import LoadBalancer
from tests.support import tls

CONFIG = """\
[lbproxy]
secret = file:secret

[frontend web]
listen =
    tls:8443 certificates=site.pem
    tls:8444 certificates=named
backend = app

[certificate named]
certificate = named.pem
key = named.key

[backend app]
check = redis password_file=password
servers = a 127.0.0.1:8000
"""
FILES = ("secret", "site.pem", "named.key", "password")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    site, named = tls.issue("site.example"), tls.issue("named.example")
    tls.write(site, made, "site")
    tls.write(named, made, "named")
    (made / "named.key").write_bytes(named.private_key_pem.bytes())
    for name in ("secret", "password"):
        (made / name).write_text("x" * 40)
    (made / "lb.ini").write_text(CONFIG)
    for path in made.iterdir():
        path.chmod(0o600)
    yield made
    shutil.rmtree(made)


def warnings(folder: Path) -> list[str]:
    service = LoadBalancer.from_config(folder / "lb.ini", reactor=MemoryReactorClock())
    return service.warnings()


def test_private_files_need_no_warning(folder: Path) -> None:
    assert warnings(folder) == []
    (folder / "named.pem").chmod(0o644)
    assert warnings(folder) == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_everybody_can_read(folder: Path, name: str) -> None:
    (folder / name).chmod(0o644)
    (found,) = warnings(folder)
    assert f"chmod o-rwx {folder / name}" in found
    assert "x" * 40 not in found


def test_a_file_in_a_closed_folder_is_not_exposed(folder: Path) -> None:
    (folder / "secret").chmod(0o644)
    assert is_exposed(str(folder / "secret"))
    folder.chmod(0o700)
    assert not is_exposed(str(folder / "secret"))
    assert not is_exposed(str(folder / "missing"))
