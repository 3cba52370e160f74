"""A reply with a status that has no registered reason phrase (RFC 9112 §4)."""

from __future__ import annotations

import pytest

from lbproxy.testing import LB

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (499, b"HTTP/1.1 499 \r\n"),
        (299, b"HTTP/1.1 299 \r\n"),
        (599, b"HTTP/1.1 599 \r\n"),
        (413, b"HTTP/1.1 413 Content Too Large\r\n"),
        (422, b"HTTP/1.1 422 Unprocessable Content\r\n"),
    ],
)
def test_the_phrase_is_empty_and_the_space_stays(status: int, line: bytes) -> None:
    lb = LB.from_config(
        f"[frontend web]\nlisten = tcp:8080\nroutes = default -> reply {status} bye\n"
    )
    client = lb.connect("web")
    client.send(GET + GET)
    assert client.received.startswith(line)
    assert client.received.count(line) == 2 and client.received.count(b"bye") == 2
