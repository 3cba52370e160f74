"""PURE. Messages between lbproxy and the processes of a firewall: their length, then their content.

A question is a list of byte fields. An answer is JSON. Both begin with the number of bytes that
follow, as a 32-bit number in network order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, Final

from attrs import asdict, field, frozen

__all__ = ["Match", "Question", "RuleAnswer", "framed", "read_answer", "write_answer"]

LENGTH: Final = Struct("!I")

MOST_BYTES: Final = 4 * 1024 * 1024
"""Maximum size of a message in bytes, ample for a head and ``body_limit``."""

Pairs = Sequence[tuple[bytes, bytes]]


@frozen
class Match:
    """A rule that matched. ``target``: such as ``ARGS:q``, "" if unknown; ``severity``: 0 to 7."""

    id: int
    message: str
    target: str = ""
    severity: int = 2

    def __str__(self) -> str:
        return f"{self.id} {self.message}{f' in {self.target}' if self.target else ''}"


@frozen
class RuleAnswer:
    """A verdict.

    ``status``: of the refusal, 0 to let the request pass. ``score``: anomaly score. ``problem``:
    why a body cannot be judged, or why rules cannot be loaded. ``seconds``: duration of judging.
    """

    status: int = 0
    score: int = 0
    matches: tuple[Match, ...] = ()
    problem: str = ""
    seconds: float = 0.0


@frozen
class Question:
    """A request, or its response if ``response_status`` is set.

    ``excluded``: numbers of the exclusions whose conditions hold. ``body``: of the request, or of
    the response. ``whole``: the body is complete.
    """

    name: str
    client: tuple[str, int]
    server: tuple[str, int]
    method: bytes
    target: bytes
    version: str
    headers: Pairs
    excluded: tuple[int, ...] = ()
    whole: bool = True
    response_status: int = 0
    response_headers: Pairs = ()
    body: bytes = field(default=b"", repr=False)

    def fields(self) -> list[bytes]:
        """Return the question as fields."""
        facts = {
            "name": self.name,
            "client": self.client,
            "server": self.server,
            "version": self.version,
            "excluded": self.excluded,
            "whole": self.whole,
            "response_status": self.response_status,
            "headers": len(self.headers),
        }
        found = [json.dumps(facts).encode(), self.method, self.target]
        for name, value in (*self.headers, *self.response_headers):
            found += (name, value)
        found.append(self.body)
        return found

    @classmethod
    def of(cls, fields: Sequence[bytes]) -> Question:
        """Return the question with these :meth:`fields`."""
        facts: dict[str, Any] = json.loads(fields[0])
        count = facts.pop("headers")
        rest = fields[3:-1]
        pairs = tuple(zip(rest[::2], rest[1::2], strict=True))
        for name in ("client", "server", "excluded"):
            facts[name] = tuple(facts[name])
        return cls(
            method=fields[1],
            target=fields[2],
            headers=pairs[:count],
            response_headers=pairs[count:],
            body=fields[-1],
            **facts,
        )


def framed(fields: Sequence[bytes]) -> list[bytes]:
    """Return the pieces of a message with these fields; the last field is not copied."""
    table = b"".join(LENGTH.pack(len(one)) for one in fields)
    size = 4 + len(table) + sum(map(len, fields))
    head = LENGTH.pack(size) + LENGTH.pack(len(fields)) + table + b"".join(fields[:-1])
    return [head, fields[-1]] if fields[-1] else [head]


def unframed(message: bytes) -> list[bytes]:
    """Return the fields of a message whose length prefix has been removed."""
    count = LENGTH.unpack_from(message)[0]
    at = 4 + 4 * count
    found = []
    for place in range(count):
        size = LENGTH.unpack_from(message, 4 + 4 * place)[0]
        found.append(message[at : at + size])
        at += size
    return found


def write_answer(answer: RuleAnswer) -> bytes:
    """Return an answer as a message."""
    text = json.dumps(asdict(answer)).encode()
    return LENGTH.pack(len(text)) + text


def read_answer(text: bytes) -> RuleAnswer:
    """Return the answer in a message whose length prefix has been removed."""
    found: dict[str, Any] = json.loads(text)
    matches: Iterable[dict[str, Any]] = found.pop("matches")
    return RuleAnswer(matches=tuple(Match(**one) for one in matches), **found)
