"""CONTROL. The process: version, uptime, connections, memory and CPU time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lbproxy import __version__
from lbproxy.admin.route import Part
from lbproxy.admin.schema import COUNT, NUMBER, STRING, array, object_
from lbproxy.admin.view import AdminView
from lbproxy.observe.metrics import BUCKETS

__all__ = ["PART", "descriptors", "resident_bytes"]

_SCHEMA = object_(
    {
        "version": STRING,
        "pid": COUNT,
        "config": STRING,
        "started": NUMBER,
        "cpu_s": NUMBER,
        "resident_bytes": COUNT,
        "descriptors": COUNT,
        "connections": COUNT,
        "maxconn": COUNT,
        "followers": COUNT,
        "lag_s": NUMBER,
        "bounds": array(NUMBER),
    }
)
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the resident memory of the process in bytes; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def descriptors() -> int:
    """Return the number of open descriptors; 0 if the system does not report it."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    except OSError:
        return 0


def _state(admin: AdminView) -> Any:
    times = os.times()
    total = admin.balancer.total
    return {
        "version": __version__,
        "pid": os.getpid(),
        "config": admin.balancer.config.file,
        "started": round(admin.started, 3),
        "cpu_s": round(times.user + times.system, 2),
        "resident_bytes": resident_bytes(),
        "descriptors": descriptors(),
        "connections": total.active,
        "maxconn": total.maxconn,
        "followers": admin.followers,
        "lag_s": round(max(admin.lag.worst, admin.balancer.worker_lag_max), 4),
        "bounds": list(BUCKETS),
    }


PART = Part("process", state=_state, schema=_SCHEMA)
