"""The corpus of attacks and of ordinary requests, and the share of each that the rules stop.

``attacks.txt`` and ``ordinary.txt`` have one a line: a whole request after ``request``, or a value,
which is put into a query, a form, JSON, a cookie or a multipart body in turn.  The rules were
written without a look at every third line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from attrs import frozen

from lbproxy.http.message import RequestHead
from lbproxy.waf.body import body_parts
from lbproxy.waf.engine import Engine, Verdict
from lbproxy.waf.rule import Zone
from lbproxy.waf.target import head_parts

FOLDER = Path(__file__).parent
TYPES = {
    "form": b"application/x-www-form-urlencoded",
    "json": b"application/json",
    "xml": b"application/xml",
    "text": b"text/plain",
    "multipart": b"multipart/form-data; boundary=XyZ",
}
SAFE = "%/?&=+:;,$!*'()@[]~._-"


@frozen
class Sample:
    """One request.  ``held``: not looked at while the rules were written."""

    line: str
    head: RequestHead
    body: bytes
    held: bool


def samples(name: str) -> Iterator[Sample]:
    """The requests of a file."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        kind, _, rest = line.partition(" ")
        if kind == "request":
            head, body = _request(rest)
        else:
            ordinary = name.startswith("ordinary")
            text = rest.replace("\\n", "\n") if ordinary else rest
            carriers = 3 if ordinary else 5
            head, body = _carried(text, (number // 3) % carriers)
        yield Sample(line, head, body, number % 3 == 2)


def _request(text: str) -> tuple[RequestHead, bytes]:
    first, *more = text.split(" ¦ ")
    method, target = first.split(" ", 1)
    headers, body, kind = [], b"", ""
    for one in more:
        word, _, rest = one.partition(" ")
        if word in TYPES:
            kind, body = word, rest.encode()
            if word in ("text", "multipart"):
                body = body.replace(b"\\n", b"\n" if word == "text" else b"\r\n")
        else:
            name, _, value = one.partition(": ")
            headers.append((name.encode(), value.encode()))
    return _head(method, target, headers, kind), body


def _head(
    method: str, target: str, headers: list[tuple[bytes, bytes]], kind: str = ""
) -> RequestHead:
    browser = [(b"Host", b"www.example.com"), (b"Accept", b"*/*")]
    if not any(name == b"User-Agent" for name, _ in headers):
        browser.append((b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0"))
    if kind:
        browser.append((b"Content-Type", TYPES[kind]))
    return RequestHead(method.encode(), quote(target, safe=SAFE).encode(), browser + headers)


def _carried(text: str, carrier: int) -> tuple[RequestHead, bytes]:
    once = text if "%" in text and " " not in text else quote(text, safe="")
    if carrier == 0:
        return _head("GET", f"/app?page=2&q={once}", []), b""
    if carrier == 1:
        return _head("POST", "/app", [], "form"), f"a=1&text={once}&send=Go".encode()
    if carrier == 2:
        body = json.dumps({"id": 5, "item": {"text": text, "tags": ["a", "b"]}})
        return _head("POST", "/api", [], "json"), body.encode()
    if carrier == 3:
        return _head("GET", "/", [(b"Cookie", f"sid=abc; pref={once}".encode())]), b""
    body = f'--XyZ\r\nContent-Disposition: form-data; name="t"\r\n\r\n{text}\r\n--XyZ--\r\n'
    return _head("POST", "/up", [], "multipart"), body.encode()


def judged(engine: Engine, sample: Sample) -> Verdict:
    """The verdict about a request."""
    parts = head_parts(sample.head)
    if sample.body:
        kind = sample.head.header(b"content-type") or b""
        parts[Zone.ARGS] = parts[Zone.ARGS] + body_parts(sample.body, kind, whole=True)
    return engine.judge(parts)


def share_stopped(engine: Engine, name: str, *, held: bool | None = None) -> float:
    """The share of the requests of a file whose score reaches 5."""
    chosen = [one for one in samples(name) if held is None or one.held is held]
    return sum(judged(engine, one).score >= 5 for one in chosen) / len(chosen)
