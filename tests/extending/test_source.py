"""A feature that answers in place of servers, and keeps bodies by a transform."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.testing import LB
from tests.extending.conftest import Install

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "extending" / "memory.py"
TEXT = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
servers = a 10.0.0.1:80
remember = 10s
"""


@pytest.fixture
def toy(install: Install) -> None:
    """The feature, installed."""
    install("memory", SOURCE.read_text(), "Remember")


@pytest.mark.parametrize("more", ["", "hedge = 1s\n"])
def test_it_answers_for_a_while(toy: None, more: str) -> None:
    with LB.from_config(TEXT + more) as lb:
        origin = lb.origin("a", "10.0.0.1:80", lambda request: request.path.encode())
        for _ in range(3):
            assert lb.get("http://h/one").body == b"/one"
        assert len(origin.requests) == 1
        assert lb.get("http://h/two").body == b"/two"
        assert lb.request("POST", "http://h/one", body=b"x").body == b"/one", "not a GET"
        assert len(origin.requests) == 3
        lb.advance(11)
        assert lb.get("http://h/one").body == b"/one"
        assert len(origin.requests) == 4
        assert lb.backend("app").counts["remember"].remembered == 2
        assert lb.service.reload(TEXT.replace("remember = 10s\n", "")).ok
        lb.get("http://h/one")
        assert len(origin.requests) == 5
