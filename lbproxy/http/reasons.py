"""PURE. Reason phrases of status lines.

The phrases are those of the IANA registry, which RFC 9110 changed; :mod:`http` of older Python
versions has earlier ones. An unregistered status, such as 499, has none: the phrase may be empty,
and the space before it stays (RFC 9112 §4).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

__all__ = ["REASONS", "reason_phrase"]

REASONS: Final[dict[int, bytes]] = {
    **{status.value: status.phrase.encode("ascii") for status in HTTPStatus},
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
}
"""Phrases by status."""


def reason_phrase(status: int) -> bytes:
    """Return the phrase of ``status``, or an empty one."""
    return REASONS.get(status, b"")
