"""Fixtures of the live tests: lbproxy as a child process on each transport, before real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.balancer import Balancer
from tests.support.servers import (
    live_folder,
    nginx,
    nginx_pair,
    postgres,
    program,
    raw_origin,
    redis,
)

__all__ = ["live_folder", "nginx", "nginx_pair", "postgres", "raw_origin", "redis"]


@pytest.fixture(params=["epoll", "twisted"])
def transport(request: pytest.FixtureRequest) -> str:
    """``[lbproxy] transport``."""
    return str(request.param)


@pytest.fixture
def balancer(transport: str, tmp_path: Path) -> Iterator[Callable[..., Balancer]]:
    """Start lbproxy: ``balancer(text)``.

    After the test it must end in good order, with no traceback in its log.
    """
    made: list[Balancer] = []

    def make(text: str, **options: object) -> Balancer:
        made.append(Balancer(text, tmp_path / f"lb-{len(made)}", transport, **options))
        return made[-1]

    yield make
    for one in made:
        one.finish()


@pytest.fixture
def curl() -> str:
    """The program."""
    return program("curl")


@pytest.fixture
def openssl() -> str:
    """The program."""
    return program("openssl")
