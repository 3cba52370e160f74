"""The feature of docs/examples/extending/busy.py on routes, and requests to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.extending.conftest import Install

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "busy.py"
TEXT = """
[frontend web]
listen = tcp:80
backend = app
busy = 2
routes =
    path /one/* -> app busy=1
    path /free -> app busy=0 priority=3
    path /gone -> reply 410 gone
[backend app]
servers = a 10.0.0.1:80
"""


@pytest.fixture
def toy(install: Install) -> Path:
    """The feature, installed."""
    return install("busy", SOURCE.read_text(), "Busy")


def ask(lb: Any, path: str) -> Any:
    """A client that has asked for ``path``."""
    client = lb.connect("web")
    client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    return client


def refused(clients: list[Any]) -> int:
    return sum(client.received.startswith(b"HTTP/1.1 503") for client in clients)
