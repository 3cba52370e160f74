"""The rows of ``make count``: the proxy's job, and what client and origin send."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain, repeat
from typing import Any, Protocol

from attrs import field, frozen

from tests.bench.heads import SAME_ANSWER, answers, asking_for, browser_requests, same
from tests.bench.proxies import Words
from tests.count import features
from tests.count.traffic import Browsers, Gate, Hits, Origin, Pings, Requests

__all__ = ["ROWS", "Client", "Row"]

BODY = b'{"padding": "' + b"x" * 1009 + b'"}'
assert len(BODY) == 1024


class Client(Protocol):
    """Makes the load."""

    def run(self, units: int) -> None:
        """Do ``units`` units of work."""

    def close(self) -> None:
        """Close the connections."""


@frozen
class Row:
    """One line of the table.

    ``answers`` are the origin's; None: it sends back what it gets.  ``unit`` is what ``units`` (N)
    counts.  See :class:`tests.bench.proxies.Job` for ``routes`` and ``words``.
    """

    name: str
    client: Callable[[int, Origin, Gate], Client]
    answers: Callable[[], Iterator[bytes]] | None = None
    unit: str = "request"
    units: int = 160
    mode: str = "http"
    tls: bool = False
    routes: int = 0
    words: Mapping[str, Words] = field(factory=dict)


def _same(path: str = "/small") -> Requests:
    def requests(seed: int, cookie: str) -> Iterator[bytes]:
        request = same(path)
        if cookie:
            request = request.replace(b"theme=dark", b"theme=dark; " + cookie.encode())
        return repeat(request)

    return requests


def _browser(**options: object) -> Requests:
    def requests(seed: int, cookie: str) -> Iterator[bytes]:
        return browser_requests(seed, cookie=cookie, **options)  # type: ignore[arg-type]

    return requests


def _asks(requests: Requests, **options: object) -> Callable[[int, Origin, Gate], Client]:
    return lambda *proxy: Browsers(*proxy, requests, **options)  # type: ignore[arg-type]


def _varied(size: int = 0) -> Callable[[], Iterator[bytes]]:
    return lambda: answers(0, size)


PATHS = [b"/assets/%d/%x.css" % (number % 50, number) for number in range(1000)]
"""What the requests of the cache rows are for."""


def _stored(seed: int, cookie: str) -> Iterator[bytes]:
    """Requests of one browser for :data:`PATHS`."""
    step = 2 * seed + 1  # so that every browser has an order of its own
    for number, request in enumerate(browser_requests(seed)):
        yield asking_for(PATHS[(number * step + seed) % len(PATHS)], request)


def _hits(*proxy: Any) -> Client:
    return Hits(*proxy, _stored, paths=PATHS)


def _disk_hits(*proxy: Any) -> Client:
    return Hits(*proxy, _stored, paths=PATHS, again=True)


def _public(size: int = 1024) -> Iterator[bytes]:
    return answers(0, size, public=True)


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _both(
    name: str, words: Mapping[str, Words], *, routes: int = 0, jar: str = ""
) -> tuple[Row, Row]:
    """The switched-on row ``name`` for both kinds of heads."""
    last = f"/route/{routes - 1}" if routes else ""
    alike = _asks(_same(f"{last}/assets/small"), jar=jar)
    varied = _asks(_browser(prefix=last), jar=jar)
    return (
        Row(f"{name}-same", alike, lambda: repeat(SAME_ANSWER), routes=routes, words=words),
        Row(f"{name}-browser", varied, _varied(), routes=routes, words=words),
    )


_ALL = (
    Row("same", _asks(_same()), lambda: repeat(SAME_ANSWER)),
    Row("browser", _asks(_browser()), _varied()),
    Row("browser-10", _asks(_browser(), per_connection=10), _varied()),
    Row("post-1k", _asks(_browser(method="POST", body=BODY)), _varied()),
    Row("answer-64k", _asks(_browser()), _varied(65536), units=96),
    Row("http-connection", _asks(_browser(close=True), per_connection=1), _varied(), units=96),
    Row("tls", _asks(_browser(), tls=_trusting()), _varied(), tls=True),
    Row(
        "tls-connection",
        _asks(_browser(close=True), per_connection=1, tls=_trusting()),
        _varied(),
        units=32,
        tls=True,
    ),
    Row("tcp", Pings, unit="round trip", units=320, mode="tcp"),
    Row(
        "tcp-connection",
        lambda *proxy: Pings(*proxy, reconnect=True),
        unit="connection",
        units=96,
        mode="tcp",
    ),
    *chain(
        _both("headers", features.HEADERS),
        _both("cookies", features.COOKIES),
        _both("sticky", features.STICKY, jar="LB"),
        _both("rewrite", features.REWRITE),
        _both("routes", {}, routes=1000),
        _both("hash", features.HASH),
        _both("combined", features.COMBINED)[1:],
        _both("custom", features.CUSTOM)[1:],
    ),
    Row("limit", _asks(_browser()), _varied(), words=features.LIMIT),
    Row("limit-full", _asks(_browser()), _varied(), words=features.LIMIT_FULL),
    Row("cache-hit", _hits, _public, words=features.CACHE),
    Row("cache-hit-full", _hits, _public, words=features.CACHE_FULL),
    Row("cache-disk", _disk_hits, partial(_public, 65536), words=features.CACHE_DISK, units=96),
    Row("cache-disk-1k", _disk_hits, _public, words=features.CACHE_DISK_SMALL),
    Row("cache-miss", _asks(_browser()), _public, words=features.CACHE),
    Row("cache-elsewhere", _asks(_browser()), _varied(), words=features.CACHE_ELSEWHERE),
)

ROWS: dict[str, Row] = {row.name: row for row in _ALL}
"""By name, in the order they are run."""
