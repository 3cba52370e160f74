"""Limits written in a configuration reach the codec: each with a value that is not its default."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lbproxy.testing import LB
from lbproxy.testing.origin import Answer

Factory = Callable[[str], LB]

FRONTENDS = {
    "plain": "",
    "url": "max_url = 100",
    "bytes": "max_header_bytes = 2k",
    "count": "max_headers = 5",
    "body": "max_body = 10",
}
CONFIG = "\n".join(
    f"[frontend {name}]\nlisten = tcp:{8000 + number}\nbackend = app\n{line}"
    for number, (name, line) in enumerate(FRONTENDS.items())
)
CONFIG += """
[backend app]
servers = a 10.0.0.1:80
"""


@pytest.fixture
def lb(lbproxy_factory: Factory) -> LB:
    made = lbproxy_factory(CONFIG)
    made.origin("a", "10.0.0.1:80")
    return made


def status(lb: LB, frontend: str, target: str, lines: int, size: int, body: bytes) -> int:
    """Of the answer to a request of that shape."""
    headers = [(f"X-{number}", "v" * size) for number in range(lines)]
    url = f"http://www.example.com:{8000 + list(FRONTENDS).index(frontend)}{target}"
    return lb.request("POST", url, headers=headers, body=body).status


@pytest.mark.parametrize(
    ("frontend", "refusal", "target", "lines", "size", "body"),
    [
        ("url", 414, "/" + "u" * 100, 1, 1, b"x"),
        ("bytes", 431, "/", 1, 2048, b"x"),
        ("count", 431, "/", 4, 1, b"x"),  # with Host and Content-Length
        ("body", 413, "/", 1, 1, b"x" * 11),
    ],
)
def test_over_a_limit(
    lb: LB, frontend: str, refusal: int, target: str, lines: int, size: int, body: bytes
) -> None:
    assert status(lb, frontend, target, lines, size, body) == refusal
    assert status(lb, "plain", target, lines, size, body) == 200


@pytest.mark.parametrize(
    ("frontend", "target", "lines", "size", "body"),
    [
        ("url", "/" + "u" * 99, 1, 1, b"x"),
        ("bytes", "/", 1, 1800, b"x"),
        ("count", "/", 3, 1, b"x"),
        ("body", "/", 1, 1, b"x" * 10),
    ],
)
def test_up_to_a_limit(
    lb: LB, frontend: str, target: str, lines: int, size: int, body: bytes
) -> None:
    assert status(lb, frontend, target, lines, size, body) == 200


@pytest.mark.parametrize(("limit", "status"), [("1k", 502), ("64k", 200)])
def test_the_largest_response_head(lbproxy_factory: Factory, limit: str, status: int) -> None:
    lb = lbproxy_factory(CONFIG + f"max_response_header_bytes = {limit}\n")
    lb.origin("a", "10.0.0.1:80", Answer(headers={"X-Long": "v" * 2000}))
    assert lb.get("http://www.example.com:8000/").status == status
