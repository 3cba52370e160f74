"""Generate HTTP heads as browsers and applications send them; no two of a run are equal.

A seed determines everything, so every run and every proxy gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

__all__ = [
    "SAME_ANSWER",
    "SAME_HEADERS",
    "answers",
    "asking_for",
    "browser_headers",
    "browser_mix",
    "browser_requests",
    "same",
]

SAME_HEADERS = (
    "Host: www.example.com",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br",
    "Referer: http://www.example.com/index.html",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
    "Upgrade-Insecure-Requests: 1",
    "Cache-Control: max-age=0",
    "Connection: keep-alive",
)
"""The ten header lines of the bench's scenario http-get."""

SAME_ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: nginx/1.22.1\r\n"
    b"Date: Sat, 28 Nov 2026 12:00:00 GMT\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 120\r\n"
    b"Connection: keep-alive\r\n"
    b"X-Origin: a\r\n"
    b"\r\n" + b"x" * 119 + b"\n"
)

AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/18.6 Safari/605.1.15",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/141.0.0.0 Mobile Safari/537.36",
)

LANGUAGES = ("en-US,en;q=0.5", "de-DE,de;q=0.8,en;q=0.5", "fr", "es-MX,es;q=0.9,en;q=0.7")

KINDS = (
    # destination, mode, Accept, extension
    (
        "document",
        "navigate",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "html",
    ),
    ("style", "no-cors", "text/css,*/*;q=0.1", "css"),
    ("script", "no-cors", "*/*", "js"),
    ("image", "no-cors", "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8", "webp"),
    ("font", "cors", "application/font-woff2;q=1.0,*/*;q=0.8", "woff2"),
    ("empty", "cors", "application/json, text/plain, */*", "json"),
)

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css",
    "js": "text/javascript",
    "webp": "image/webp",
    "woff2": "font/woff2",
    "json": "application/json",
}

CACHING = ("no-cache", "private, max-age=60", "max-age=31536000, immutable")

PUBLIC = "public, max-age=31536000"

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def _head(first: str, lines: list[str]) -> bytes:
    return ("\r\n".join([first, *lines]) + "\r\n\r\n").encode()


def same(
    path: str = "/small", method: str = "GET", body: bytes = b"", *, close: bool = False
) -> bytes:
    """Return a request with :data:`SAME_HEADERS`."""
    lines = list(SAME_HEADERS)
    if close:
        lines[-1] = "Connection: close"
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return _head(f"{method} {path} HTTP/1.1", lines) + body


def browser_headers(chance: Random) -> tuple[str, ...]:
    """Return the lines that one browser repeats: its agent, its languages and its cookies."""
    session = f"{chance.getrandbits(128):032x}"
    visitor = f"{chance.randrange(10**9)}.{chance.randrange(10**9)}"
    theme = chance.choice(("dark", "light"))
    return (
        f"User-Agent: {chance.choice(AGENTS)}",
        f"Accept-Language: {chance.choice(LANGUAGES)}",
        f"Cookie: session={session}; _ga=GA1.2.{visitor}; theme={theme}; seen=",
    )


def browser_requests(
    seed: int,
    *,
    method: str = "GET",
    prefix: str = "",
    body: bytes = b"",
    close: bool = False,
    cookie: str = "",
) -> Iterator[bytes]:
    """Yield the requests of one browser without end.

    Path, Accept, Referer, Cookie, If-None-Match, Priority and Sec-Fetch-* vary.  ``prefix`` begins
    every path.  The first eight bytes of ``body`` differ in every request.
    """
    chance = Random(seed)
    agent, language, cookies = browser_headers(chance)
    count = 0
    page = "/"
    while True:
        count += 1
        destination, mode, accept, extension = chance.choice(KINDS)
        number = chance.randrange(100_000)
        path = f"{prefix}/assets/{chance.randrange(50)}/{number:x}.{extension}"
        if chance.random() < 0.5:
            path += f"?v={chance.getrandbits(32):x}"
        lines = [
            "Host: www.example.com",
            agent,
            f"Accept: {accept}",
            language,
            "Accept-Encoding: gzip, deflate, br, zstd",
            f"Referer: http://www.example.com{page}",
            f"{cookies}{count}" + (f"; {cookie}" if cookie else ""),
            f"Sec-Fetch-Dest: {destination}",
            f"Sec-Fetch-Mode: {mode}",
            f"Sec-Fetch-Site: {chance.choice(('same-origin', 'same-site', 'none'))}",
        ]
        if destination == "document":
            lines.append("Upgrade-Insecure-Requests: 1")
            page = path
        if method == "GET" and chance.random() < 0.3:
            lines.append(f'If-None-Match: "{chance.getrandbits(64):x}"')
        if chance.random() < 0.5:
            lines.append(f"Priority: u={chance.randrange(1, 6)}")
        content = b""
        if body:
            lines.append("Content-Type: application/json")
            lines.append(f"Content-Length: {len(body)}")
            content = b"%08x" % chance.getrandbits(32) + body[8:]
        lines.append("Connection: close" if close else "Connection: keep-alive")
        yield _head(f"{method} {path} HTTP/1.1", lines) + content


def asking_for(target: bytes, request: bytes) -> bytes:
    """Return a request with another target."""
    method, _, rest = request.partition(b" ")
    return b"%b %b %b" % (method, target, rest.partition(b" ")[2])


def browser_mix(count: int = 20_000, browsers: int = 50) -> Iterator[bytes]:
    """Yield ``count`` requests by ``browsers`` browsers in turn."""
    each = [browser_requests(seed) for seed in range(browsers)]
    for number in range(count):
        yield next(each[number % browsers])


def answers(seed: int, size: int = 0, *, public: bool = False) -> Iterator[bytes]:
    """Yield the answers of one application without end.

    Date, ETag, Content-Length, X-Request-Id, Set-Cookie and others vary.  ``size`` is the length of
    every body in bytes; 0: lengths vary, and a tenth of the answers are 304 without a body.
    ``public``: a cache may store every answer for a year, and none has a cookie.
    """
    chance = Random(seed)
    filler = bytes(range(32, 127)) * (1 + max(size, 2048) // 95)
    second = 0
    while True:
        second += chance.random() < 0.1
        kind = chance.choice(tuple(TYPES))
        length = size or chance.randrange(100, 2000)
        day = 1 + second // 86_400 % 28
        clock = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
        tag = f'ETag: "{chance.getrandbits(64):x}-{length:x}"'
        lines = [f"Date: {DAYS[day % 7]}, {day:02} Nov 2026 {clock} GMT", "Server: app/2.1"]
        if not size and chance.random() < 0.1:
            lines += [tag, f"X-Request-Id: {chance.getrandbits(128):032x}"]
            yield _head("HTTP/1.1 304 Not Modified", lines)
            continue
        lines += [
            f"Content-Type: {TYPES[kind]}",
            f"Content-Length: {length}",
            tag,
            f"Last-Modified: {DAYS[length % 7]}, {1 + length % 28:02} Oct 2026 08:{clock[3:]} GMT",
            f"Cache-Control: {PUBLIC if public else chance.choice(CACHING)}",
            f"X-Request-Id: {chance.getrandbits(128):032x}",
        ]
        if not public and chance.random() < 0.3:
            value = f"{chance.getrandbits(96):024x}"
            lines.append(f"Set-Cookie: seen={value}; Path=/; HttpOnly; SameSite=Lax")
        if chance.random() < 0.5:
            lines.append("Vary: Accept-Encoding")
        yield _head("HTTP/1.1 200 OK", lines) + filler[:length]
