"""DATA. The reports of workers about a cache, and their totals in the master."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lbproxy.observe.counters import Lifetime, Table, Value, dump_counters, load_counters, setter
from lbproxy.proxy.features.caching.everywhere import entries_of, merge_entries, merge_why, why_of
from lbproxy.proxy.features.caching.shown import merge_top, top_of
from lbproxy.proxy.together import SharedQuestion, Together

if TYPE_CHECKING:
    from lbproxy.proxy.features.caching.cache import Cache

__all__ = ["CACHES"]


def _find(features: Mapping[str, Any]) -> Mapping[str, Cache[Any]]:
    """Return the caches of the features of class Caching, by name."""
    return {one.cache.name: one.cache for one in features.values()}


def _show_counters(cache: Cache[Any], total: dict[str, Any]) -> None:
    load_counters(cache.counters, total)
    if cache.nodes is not None and total:
        cache.counters.shared_failures += cache.nodes.tier.failures  # the master purges, too


def _show_store(cache: Cache[Any], total: dict[str, int]) -> None:
    cache.store.show_totals(total)


CACHES = Together(
    "caches",
    _find,
    Table(
        (
            Value(
                "counters",
                lambda one: dump_counters(one.counters),
                _show_counters,
                Lifetime.TOTAL,
                empty={},
            ),
            Value("fetching", lambda one: one.fetching_count, setter("remote_fetching")),
            Value("store", lambda one: one.store.totals(), _show_store, Lifetime.TOTAL, empty={}),
            Value("memory", lambda one: one.memory.bytes, setter("remote_bytes")),
            Value("waiting", lambda one: one.waiting_count, setter("remote_waiting")),
            Value(
                "reasons",
                lambda one: one.reasons.dump(),
                lambda one, total: one.reasons.load(total),
                Lifetime.TOTAL,
                empty={},
            ),
            Value("top", top_of, setter("remote_top"), combine=merge_top, empty={}),
        )
    ),
    {
        "entries": SharedQuestion(entries_of, merge_entries),
        "why": SharedQuestion(why_of, merge_why),
    },
)
