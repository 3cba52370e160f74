"""Solves challenges as a browser does."""

from __future__ import annotations

import re
from hashlib import sha256

from lbproxy.challenge.proof import zero_bits

__all__ = ["read_challenge", "solve"]

_META = re.compile(rb'<meta name="lbproxy-challenge" content="(\S+) (\d+) (\S+)">')


def read_challenge(page: bytes) -> tuple[str, int, str]:
    """Token, bits and path of a page."""
    found = _META.search(page)
    assert found is not None, page[:500]
    return found[1].decode(), int(found[2]), found[3].decode()


def solve(token: str, bits: int) -> int:
    """The least number that answers ``token``."""
    number = 0
    while zero_bits(sha256(f"{token}{number}".encode()).digest()) < bits:
        number += 1
    return number
