"""The cost of hostile bodies: from the bytes to the verdict."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable

import pytest

pytest.importorskip("re2")

from lbproxy.waf.body import body_parts
from lbproxy.waf.engine import Engine
from lbproxy.waf.rule import Zone
from lbproxy.waf.rules import RULES

SIZE = 65536
BOUND = 0.045
"""Seconds of processor time on the machine of the documentation's figures: 20 ms are wanted, and
the rest is for caches that other tests fill."""

LOOP = 0.0021
"""Seconds that 100,000 turns of an empty loop take there."""

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
TEXT = b"text/plain"
MULTIPART = b"multipart/form-data; boundary=B"

PIECES = (
    *("a", "' or ", "(select a,", "<a ", "' on", "${a", "{{", "../a", "%25", "%41", "&#x41;"),
    *("\\u0041", "/*", "/**/", "/*a", " ", "(", "http://a.", "?", '"', "/", "//./", "/."),
    *("\ufdfa", "\uff1c", "\xff", "style=", "; cat ", "<svg><a href=", "#", "--", "/%uff1cscript"),
    *("/%c0%ae", "&", "\n#", "a\n--b", "<!entity ", "@import '//x", "select (", "`id` ", ";a=b"),
    "' or union select $ {<script on document ../ etc/passwd php: `id` | && 0x char(",
)
STARTS = ("", "\n#\n", "www.example.com\n--")
"""Lines after which a value is judged in more than one spelling."""


def of_text(text: str, size: int) -> tuple[bytes, bytes]:
    return (text * (size // len(text) + 1)).encode()[:size], TEXT


def of_form(text: str, size: int) -> tuple[bytes, bytes]:
    return (text * (size // len(text) + 1)).encode()[:size], FORM


def of_json(start: str, text: str, size: int) -> tuple[bytes, bytes]:
    """A member of ``size`` bytes as it is written."""
    written = json.dumps(text)[1:-1]
    value = json.dumps(start)[1:-1] + written * ((size - 40) // len(written))
    return f'{{"a": "{value}"}}'.encode(), JSON


def of_leaves(text: str, size: int) -> tuple[bytes, bytes]:
    leaf = json.dumps(text)
    return ("[" + ",".join([leaf] * (size // (len(leaf) + 1) - 1)) + "]").encode(), JSON


def of_parts(text: str, size: int) -> tuple[bytes, bytes]:
    head = "--B\r\nContent-Disposition: form-data; name=a\r\n\r\n"
    field = f"{head}\n#\n{text}\r\n".encode()
    return field * (size // len(field)) + b"--B--", MULTIPART


ENGINE = Engine(RULES)


def slowness() -> float:
    """How many times slower this machine is now, because it is another or has other work."""
    before = time.thread_time()
    for _ in range(100_000):
        pass
    return max(1.0, (time.thread_time() - before) / LOOP)


def cost(body: bytes, kind: bytes, enough: float) -> float:
    """The least time of up to five verdicts, at full speed; ``enough`` ends the search.

    The collector is off: it would walk the objects of all tests of this process.
    """
    least = 1e9
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(5):
            before = time.thread_time()
            ENGINE.judge({Zone.ARGS: body_parts(body, kind, whole=True)})
            spent = time.thread_time() - before
            least = min(least, spent / slowness())
            if least < enough:
                break
    finally:
        if collecting:
            gc.enable()
    return least


@pytest.mark.parametrize("make", [of_text, of_form, of_leaves, of_parts])
def test_64_kb_of_hostile_bodies_cost_little(
    make: Callable[[str, int], tuple[bytes, bytes]],
) -> None:
    costs = {piece: cost(*make(piece, SIZE), BOUND) for piece in PIECES}
    assert {piece: spent for piece, spent in costs.items() if spent >= BOUND} == {}


@pytest.mark.parametrize("start", STARTS)
def test_64_kb_of_hostile_values_cost_little(start: str) -> None:
    costs = {piece: cost(*of_json(start, piece, SIZE), BOUND) for piece in PIECES}
    assert {piece: spent for piece, spent in costs.items() if spent >= BOUND} == {}


@pytest.mark.parametrize("piece", PIECES)
def test_the_cost_is_linear_in_the_length(piece: str) -> None:
    """Eight times the text costs about eight times as much; what is quadratic costs 64 times."""
    for start in STARTS:
        short = cost(*of_json(start, piece, SIZE // 8), 0)
        enough = max(24 * short, 0.003)
        assert cost(*of_json(start, piece, SIZE), enough) < enough
