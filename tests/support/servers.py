"""Fixtures that start real servers: import what a test module needs, or get them through
``tests/live/conftest.py``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Postgres, Redis
from tests.support.lb_process import LBProcess
from tests.support.nginx import NginxOrigin
from tests.support.origin import RawOrigin
from tests.support.required import program

__all__ = [
    "lb_process",
    "live_folder",
    "nginx",
    "nginx_pair",
    "nginx_tls",
    "postgres",
    "program",
    "raw_origin",
    "redis",
]


@pytest.fixture(scope="session")
def live_folder() -> Iterator[Path]:
    """A folder that other users can reach too (pytest's own are private); removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="lbproxy-live-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _certificate(folder: Path) -> Path:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    path = folder / "server.pem"
    issued = authority.issue_cert("localhost", "127.0.0.1", "app.test")
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def nginx_pair(live_folder: Path) -> Iterator[tuple[NginxOrigin, NginxOrigin]]:
    """Two origins, "a" and "b", that no test stops."""
    binary = program("nginx")
    pair = [
        NginxOrigin(binary, _folder(live_folder, f"nginx-{name}"), name).start() for name in "ab"
    ]
    yield pair[0], pair[1]
    for origin in pair:
        origin.stop()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[..., NginxOrigin]]:
    """Make origins of one's own, to stop and start: ``nginx("a", access_log=True)``."""
    binary = program("nginx")
    made: list[NginxOrigin] = []

    def make(name: str = "a", **options: Any) -> NginxOrigin:
        folder = _folder(tmp_path, f"nginx-{name}-{len(made)}")
        made.append(NginxOrigin(binary, folder, name, **options))
        return made[-1].start()

    yield make
    for origin in made:
        origin.stop()


@pytest.fixture(scope="session")
def nginx_tls(live_folder: Path) -> Iterator[NginxOrigin]:
    """An origin with ``tls_port``; ``folder / "ca.pem"`` is its authority."""
    folder = _folder(live_folder, "nginx-tls")
    origin = NginxOrigin(program("nginx"), folder, "tls", certificate=_certificate(folder)).start()
    yield origin
    origin.stop()


@pytest.fixture(scope="session")
def postgres(live_folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL server."""
    server = Postgres(Path(program("initdb")).resolve().parent, live_folder / "postgres").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis(live_folder: Path) -> Iterator[Redis]:
    """A Redis server."""
    server = Redis(program("redis-server"), live_folder / "redis").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def raw_origin(live_folder: Path) -> Iterator[RawOrigin]:
    """A misbehaving origin; see :mod:`tests.support.origin`."""
    origin = RawOrigin(live_folder / "raw").start()
    yield origin
    origin.stop()


@pytest.fixture
def lb_process(tmp_path: Path) -> Iterator[Callable[..., LBProcess]]:
    """Start lbproxy: ``lb_process(text)``; stopped after the test."""
    made: list[LBProcess] = []

    def make(text: str, **options: Any) -> LBProcess:
        made.append(LBProcess(text, tmp_path / f"lb-{len(made)}", **options, forked=True))
        return made[-1]

    yield make
    for process in made:
        process.stop()
