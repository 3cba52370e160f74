"""CONTROL. Requests many URLs, so that a cache has their responses before clients need them.

The requests are those of an ordinary client, so that routes, filters and the rules of the cache
apply. ``Cache-Status`` of each response reports whether a cache stored it, or had it already.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

from attrs import define, evolve, field, frozen

from lbproxy.cache.givenurl import given_url, target_of

__all__ = ["LARGEST", "Report", "WarmOptions", "Warmed", "warm"]

LARGEST: Final = 16 * 1024
"""Maximum length of a URL in characters."""

FAILURES: Final = 1000
"""Maximum number of failures listed in a report. Further ones are counted."""

GRACE: Final = 5.0
"""Seconds after the deadline until threads are abandoned, because a name server may block them."""

COUNTING: Final = 1.0
"""Seconds for counting the remaining URLs, because a pipe may never end."""

_PIECE: Final = 64 * 1024
_MOST_INTERIM: Final = 100
_DETAIL: Final = re.compile(r'detail="((?:[^"\\]|\\.)*)"')


@frozen
class WarmOptions:
    """Options for warming. ``connect``: host and port to connect to instead of those in the URLs;
    None for those.

    ``rate``: requests a second. ``at_once``: number of connections. ``deadline``: seconds for all
    requests. ``timeout``: maximum wait for the next bytes in seconds. ``headers``: of every
    request.
    """

    connect: tuple[str, int] | None = None
    rate: float = 20.0
    at_once: int = 8
    deadline: float = 600.0
    timeout: float = 30.0
    headers: tuple[tuple[str, str], ...] = ()
    tls: ssl.SSLContext | None = None


@frozen
class Warmed:
    """The result for one URL. ``word`` is ``stored``, ``hit`` or ``failed``; ``reason`` explains
    it.
    """

    url: str
    word: str
    reason: str = ""
    bytes: int = 0


@define
class Report:
    """The sums of all results. ``late``: URLs that were not requested before the deadline, as far
    as they could be counted in :data:`COUNTING` seconds.
    """

    stored: int = 0
    hit: int = 0
    failed: int = 0
    late: int = 0
    bytes: int = 0
    failures: list[Warmed] = field(factory=list)
    reasons: Counter[str] = field(factory=Counter)

    @property
    def done(self) -> int:
        """Number of URLs that were requested or are invalid."""
        return self.stored + self.hit + self.failed

    def add(self, outcome: Warmed) -> None:
        """Count a result."""
        self.bytes += outcome.bytes
        if outcome.word == "stored":
            self.stored += 1
        elif outcome.word == "hit":
            self.hit += 1
        else:
            self.failed += 1
            self.reasons[outcome.reason] += 1
            if len(self.failures) < FAILURES:
                self.failures.append(outcome)


def warm(urls: Iterable[str], options: WarmOptions, progress: Callable[[Report], None]) -> Report:
    """Request each URL once; return the sums of the results.

    ``progress`` is called about once a second, in one of several threads but never concurrently.
    KeyboardInterrupt ends it early; the remaining URLs count as ``late``.
    """
    work = _Work(urls, options, progress)
    threads = [threading.Thread(target=work.run, daemon=True) for _ in range(options.at_once)]
    for thread in threads:
        thread.start()
    try:
        work.wait(threads)
    except KeyboardInterrupt:
        work.end_early()
        work.wait(threads)
    return work.finish()


class _Work:
    """The remaining URLs, shared by several threads."""

    def __init__(
        self, urls: Iterable[str], options: WarmOptions, progress: Callable[[Report], None]
    ) -> None:
        self._urls: Iterator[str] = iter(urls)
        self._options = options
        self._progress = progress
        self._lock = threading.Lock()
        self._reading = threading.Lock()  # a pipe may deliver nothing for a long time
        self._left = 0
        self._start = time.monotonic()
        self._end = self._start + options.deadline
        self._next_at = self._start
        self._shown_at = self._start
        self._report = Report()

    def run(self) -> None:
        """Request URLs one after the other, in one thread."""
        client = _Client(self._options)
        try:
            while (url := self._take()) is not None:
                outcome = client.get(url, self._end)
                with self._lock:
                    self._report.add(outcome)
                    self._show()
        finally:
            client.close()

    def _take(self) -> str | None:
        """Return the next URL when it is due; None if no URL remains."""
        with self._reading:
            if max(self._next_at, time.monotonic()) >= self._end:
                return None
            url = next(self._urls, None)
            if url is None:
                return None
            now = time.monotonic()
            at = max(self._next_at, now)
            if at >= self._end:
                self._left += 1
                return None
            self._next_at = at + 1 / self._options.rate
        time.sleep(max(0.0, at - now))
        return url

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown_at >= 1:
            self._shown_at = now
            self._progress(self._report)

    def wait(self, threads: list[threading.Thread]) -> None:
        """Wait until all threads have finished, or the time is over."""
        for thread in threads:
            while thread.is_alive() and (left := self._end + GRACE - time.monotonic()) > 0:
                thread.join(min(left, 1.0))

    def end_early(self) -> None:
        """Stop requesting URLs."""
        self._end = time.monotonic()

    def finish(self) -> Report:
        """Count the remaining URLs, and return the report."""
        counting = threading.Thread(target=self._count, daemon=True)
        counting.start()
        counting.join(COUNTING)
        with self._lock:  # a thread that waits for a name may still add to the report
            one = self._report
            return evolve(
                one, late=self._left, failures=list(one.failures), reasons=Counter(one.reasons)
            )

    def _count(self) -> None:
        end = time.monotonic() + COUNTING
        with self._reading:
            for _ in self._urls:
                self._left += 1
                if time.monotonic() >= end:
                    break


class _FinalResponse(http.client.HTTPResponse):
    """A response after any interim responses. http.client itself skips only 100."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM):
            line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if line[1] >= 200 or line[1] == 101:
                return line
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("too many interim responses")


class _Client:
    """Requests over one connection, which is reused while the host stays the same."""

    def __init__(self, options: WarmOptions) -> None:
        self._options = options
        self._open: tuple[tuple[str, str, int], http.client.HTTPConnection] | None = None

    def get(self, url: str, end: float) -> Warmed:
        """Request ``url`` and read its response. ``end``: deadline of all requests."""
        parts = _parts(url)
        if parts is None:
            return Warmed(url, "failed", "not a URL of http or https")
        try:
            reused = self._open is not None
            try:
                return self._ask(url, parts, end)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.close()
                if not reused:
                    raise
                return self._ask(url, parts, end)  # the connection was closed while it was idle
        except (OSError, ValueError, http.client.HTTPException) as error:
            # ValueError: a name that IDNA cannot encode, such as a..b
            self.close()
            text = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return Warmed(url, "failed", text)

    def _ask(self, url: str, parts: SplitResult, end: float) -> Warmed:
        client = self._connection(parts)
        left = max(end - time.monotonic(), 0.001)
        client.sock.settimeout(min(self._options.timeout, left))
        target = target_of(given_url(url))
        client.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        client.putheader("Host", parts.netloc)
        given = {name.lower() for name, _ in self._options.headers}
        if "user-agent" not in given:
            client.putheader("User-Agent", "lbproxy cache warm")
        for name, value in self._options.headers:
            client.putheader(name, value)
        client.endheaders()
        response = client.getresponse()
        size = 0
        while piece := response.read1(_PIECE):
            size += len(piece)
            if time.monotonic() > end:
                self.close()
                return Warmed(
                    url, "failed", "the deadline passed while the body was being read", size
                )
        if response.length:
            self.close()
            return Warmed(url, "failed", "the body is truncated", size)
        response.close()  # read1 leaves the response open, and the connection busy
        if response.will_close:
            self.close()
        word, reason = _judge(response)
        return Warmed(url, word, reason, size)

    def _connection(self, parts: SplitResult) -> http.client.HTTPConnection:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        place = parts.scheme, parts.hostname or "", port
        if self._open is not None and self._open[0] == place:
            return self._open[1]
        self.close()
        client = http.client.HTTPConnection(place[1], port, timeout=self._options.timeout)
        client.response_class = _FinalResponse
        client.sock = self._connect(parts.scheme, place[1], port)
        self._open = place, client
        return client

    def _connect(self, scheme: str, host: str, port: int) -> socket.socket:
        options = self._options
        sock = socket.create_connection(options.connect or (host, port), options.timeout)
        if scheme != "https":
            return sock
        context = options.tls or ssl.create_default_context()
        return context.wrap_socket(sock, server_hostname=host)

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _parts(url: str) -> SplitResult | None:
    """Return the parts of a URL that can be requested, or None."""
    if len(url) > LARGEST:
        return None
    try:
        parts = urlsplit(given_url(url))
        good = parts.port is None or parts.port > 0
    except ValueError:
        return None
    return parts if good and parts.hostname else None


def _judge(response: http.client.HTTPResponse) -> tuple[str, str]:
    """Return the word of a result, and the reason."""
    said = ", ".join(response.headers.get_all("Cache-Status") or ())
    if not said:
        return "failed", f"status {response.status} without Cache-Status"
    words = {one.strip() for one in _DETAIL.sub("", said).rpartition(",")[2].split(";")}
    if "hit" in words or "collapsed" in words:
        return "hit", ""
    if "stored" in words:
        return "stored", ""
    found = _DETAIL.findall(said)
    return "failed", f"status {response.status}: {found[-1] if found else 'not stored'}"
