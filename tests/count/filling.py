"""Store many responses without requests: a million of them under valgrind would take an hour."""

from __future__ import annotations

import gc
import time

from lbproxy.cache.control import Control
from lbproxy.cache.memory import Memory
from lbproxy.cache.stored import Stored

__all__ = ["fill"]

BODY = bytes(1024)


def fill(memory: Memory, count: int) -> None:
    """Store ``count`` responses of 1 KiB; RuntimeError if there is no room for all."""
    now = time.time()
    control = Control(public=True, max_age=31_536_000)
    headers = [(b"Content-Type", b"text/css"), (b"Cache-Control", b"public, max-age=31536000")]
    gc.disable()
    for number in range(count):
        target = b"/filled/%d" % number
        url = b"http://www.example.com" + target
        stored = Stored(
            url, 200, b"OK", headers, control, now, now, 31_536_000.0, True, "", len(BODY)
        )
        memory.add((b"app", b"http", b"www.example.com", target), stored, BODY)
    gc.enable()
    if len(memory) != count:
        raise RuntimeError(f"the store has {len(memory)} of {count} responses")
