"""What tests of the cache have in common: a configuration, and an origin that answers in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lbproxy.testing import LoadBalancerFixture
from lbproxy.testing.origin import Request

__all__ = ["cache_of", "config_with", "disk_config", "in_turn"]

_CONFIG = """
[cache main]
{cache}
[frontend web]
listen = tcp:80
cache = main
{frontend}
backend = app
[backend app]
servers = a 10.0.0.1:80
{backend}
"""


def config_with(cache: str = "", frontend: str = "", backend: str = "") -> str:
    """Return a configuration of a frontend with a cache, with these lines in its sections."""
    return _CONFIG.format(cache=cache, frontend=frontend, backend=backend)


def disk_config(folder: Path, size: str = "64m") -> str:
    """Return a configuration of a frontend whose cache has only a folder."""
    return config_with(f"disk = {folder} {size}")


def cache_of(lb: LoadBalancerFixture) -> Any:
    """Return the cache ``main``."""
    return lb.service.caches["main"]


def in_turn(*answers: Any) -> Callable[[Request], Any]:
    """Return a handler that gives ``answers`` in turn, the last one again and again; one that can
    be called is called with the request.
    """
    left = list(answers)

    def handle(request: Request) -> Any:
        found = left.pop(0) if len(left) > 1 else left[0]
        return found(request) if callable(found) else found

    return handle
