"""Lifetimes of responses that a CORS proxy shares."""

from __future__ import annotations

import pytest

from lbproxy.cors.sharing import lookup_fields, shared_fields

TTL = (b"Cache-Control", b"max-age=60")
NEVER = (b"Cache-Control", b"no-store")


@pytest.mark.parametrize(
    ("fields", "status", "ttl", "found"),
    [
        ([], 200, None, []),
        ([], 200, 60, [TTL]),
        ([(b"expires", b"0"), (b"X", b"y")], 200, 60, [(b"X", b"y"), TTL]),
        ([(b"CDN-Cache-Control", b"max-age=1")], 203, 60, [TTL]),
        ([(b"CDN-Cache-Control", b"no-store")], 200, 60, [(b"CDN-Cache-Control", b"no-store")]),
        ([(b"Cache-Control", b"no-cache")], 200, 60, [TTL]),
        ([(b"Cache-Control", b"PRIVATE")], 200, 60, [(b"Cache-Control", b"PRIVATE")]),
        ([(b"Cache-Control", b"x-private")], 200, 60, [TTL]),
        ([], 404, 60, []),
        ([(b"Set-Cookie", b"a"), TTL], 200, None, [(b"Set-Cookie", b"a"), NEVER]),
        ([(b"www-authenticate", b"a")], 401, 60, [(b"www-authenticate", b"a"), NEVER]),
    ],
)
def test_shared_fields(
    fields: list[tuple[bytes, bytes]], status: int, ttl: int | None, found: object
) -> None:
    assert shared_fields(fields, status, ttl) == found


def test_lookup_fields() -> None:
    fields = [(b"Pragma", b"no-cache"), (b"cache-control", b"no-cache"), (b"A", b"b")]
    assert lookup_fields(fields, None) == fields
    assert lookup_fields(fields, 60) == [(b"A", b"b"), TTL]
