"""DATA. Contents and decisions of a cache for display: of each process, and merged.

Processes share the contents of a folder, and each has its own hits and refusals. With ``redis``,
only the process itself knows its contents in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from lbproxy.cache.key import normal_url
from lbproxy.http.message import RequestHead, header_pairs
from lbproxy.proxy.features.caching.shown import object_facts, why

if TYPE_CHECKING:
    from lbproxy.proxy.features.caching.cache import Cache

__all__ = ["MOST", "MOST_BYTES", "entries_of", "merge_entries", "merge_why", "why_of"]

MOST: Final = 1000
"""Maximum number of responses that one process describes."""

MOST_BYTES: Final = 4 * 1024 * 1024
"""Size of their description as JSON at most. Large heads would otherwise exceed the length of a
message of workers (:data:`lbproxy.workers.channel.LINE_MAX`), which closes the channel.
"""


def entries_of(cache: Cache[Any], url: str) -> list[dict[str, Any]]:
    """Return the responses of a URL in this process, or of its whole memory (""), as JSON types."""
    now, store = cache.wall(), cache.store
    if url:
        found = store.by_url(normal_url(url.encode("latin-1", "replace"), cache.policy))
    else:
        found = list(islice(store.memory.walk(oldest_first=True), MOST))
    facts: list[dict[str, Any]] = []
    left = MOST_BYTES
    for entry in found[:MOST]:
        one = object_facts(entry, now)
        left -= len(json.dumps(one))
        if left < 0:
            break
        facts.append(one)
    return facts


def merge_entries(answers: Iterable[list[dict[str, Any]] | None]) -> list[dict[str, Any]]:
    """Merge the responses of several processes: each appears once, with the sum of its hits."""
    found: dict[Any, dict[str, Any]] = {}
    for answer in answers:
        for one in answer or ():
            name = (*one["key"], one["status"], one["asked"], repr(one["headers"]))
            known = found.get(name)
            if known is None:
                found[name] = dict(one)
            else:
                known["hits"] += one["hits"]
    return list(found.values())


def why_of(
    cache: Cache[Any], scheme: str, host: str, target: str, method: str, headers: list[list[str]]
) -> dict[str, Any]:
    """Return how this process would handle a request; see
    :func:`~lbproxy.proxy.features.caching.shown.why`.
    """
    head = RequestHead(
        method.encode("ascii"),
        target.encode("ascii"),
        header_pairs((name, value) for name, value in headers),
        host=host.encode("ascii"),
        scheme=scheme.encode("ascii"),
    )
    return why(cache, head)


def merge_why(answers: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    """Merge the answers of several processes; there must be at least one."""
    first, *others = [one for one in answers if one is not None]
    found = dict(first)
    for other in others:
        found["not_stored"] = found["not_stored"] or other["not_stored"]
        found["stored"] = [*found["stored"], *other["stored"]]
    once: dict[Any, dict[str, Any]] = {}
    for one in found["stored"]:
        name = (one["backend"], one["url"], repr(one["vary"]), one["status"], one["reason"])
        known = once.get(name)
        if known is None:
            once[name] = dict(one)
        else:
            known["hits"] += one["hits"]
    found["stored"] = list(once.values())
    return found
