"""CONTROL. The usage of keys and origins, for commands and the admin side."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from lbproxy.cors.keys import KeyRecord
from lbproxy.cors.quota import Allowance, Quota, Usage, UsageTable
from lbproxy.proxy.features.corsproxy.usagefile import open_usage

__all__ = ["subject_usage", "usage_of", "usage_of_subjects"]


def usage_of(records: Iterable[KeyRecord], path: str, now: float) -> list[dict[str, Any]]:
    """Return the usage of keys; see :func:`usage_of_subjects`."""
    return usage_of_subjects([(one.name, one.sha256, one.quota) for one in records], path, now)


def usage_of_subjects(
    subjects: Sequence[tuple[str, str, Quota]], path: str, now: float
) -> list[dict[str, Any]]:
    """Return the usage of subjects from the file at ``path``; without a file the usage is zero.

    ``subjects``: name, subject and quota of each. Raises ValueError for a file of another format.
    """
    try:
        lock, cells = open_usage(path)
    except FileNotFoundError:
        return [_facts(name, Usage(), {}, quota) for name, _, quota in subjects]
    try:
        table = UsageTable(cells)
        return [subject_usage(table, name, one, quota, now) for name, one, quota in subjects]
    finally:
        os.close(lock)


def subject_usage(
    table: UsageTable, name: str, subject: str, quota: Quota, now: float
) -> dict[str, Any]:
    """Return the usage of one key or origin.

    ``quotas`` has, for each rate quota, the used amount and the limit.
    """
    used = Allowance(table.cells, subject, quota, "").used(now)
    return _facts(name, table.read(subject), used, quota)


def _facts(name: str, usage: Usage, used: dict[str, float], quota: Quota) -> dict[str, Any]:
    counts = {key: round(value) for key, value in attrs.asdict(usage).items()}
    rates = {"requests": quota.requests, "bytes": quota.bytes}
    quotas = {
        unit: [round(used.get(unit, 0.0)), round(rate.amount)]
        for unit, rate in rates.items()
        if rate is not None
    }
    return {"name": name, **counts, "quotas": quotas}
