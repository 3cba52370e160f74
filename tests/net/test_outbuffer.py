"""The chunks that a transport has yet to send."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from lbproxy.net.outbuffer import SMALL_BYTES, add, gather, remove


def test_a_large_chunk_behind_a_small_one_is_not_copied() -> None:
    """A head and a stored body: each slow client would have a copy of the body."""
    pending: deque[Any] = deque()
    body = bytes(1024 * 1024)
    add(pending, b"head")
    add(pending, body)
    assert len(gather(pending, 16384)) == 16384
    assert len(pending) == 2
    assert isinstance(pending[1], memoryview) and pending[1].obj is body


@pytest.mark.parametrize("seed", range(20))
def test_what_is_sent_in_pieces_is_what_was_added(seed: int) -> None:
    random_ = random.Random(seed)
    pending: deque[Any] = deque()
    added = sent = b""
    while len(added) < 1_000_000 or pending:
        if len(added) < 1_000_000 and random_.random() < 0.5:
            size = random_.choice([1, SMALL_BYTES, SMALL_BYTES + 1, 40_000])
            added += (data := random_.randbytes(size))
            add(pending, data)
        elif pending:
            first = gather(pending, 16384) if len(pending) > 1 else pending[0]
            count = random_.randrange(len(first) + 1)
            sent += bytes(first[:count])
            del first  # as a view it would keep the chunk from growing
            remove(pending, count)
    assert sent == added
