"""CONTROL. The lines of an access log as a cache sees them, for ``lbproxy cache replay``."""

from __future__ import annotations

import json
import re
from datetime import datetime

from lbproxy.cache.simulation import LoggedResponse

__all__ = ["logged_response"]

_COMBINED = re.compile(
    r'\S+ \S+ \S+ \[(?P<time>[^\]]*)\] "(?P<method>[!-~]+) (?P<target>\S+) [^"]*"'
    r" (?P<status>\d{3}) (?P<size>\d+|-)"
)


def logged_response(line: str, host: str = "localhost") -> LoggedResponse | None:
    """Return the response of a line of the format json, common or combined; None if it is none.

    ``host`` is for lines without one."""
    try:
        return _json(line, host) if line.startswith("{") else _combined(line, host)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
        return None


def _combined(line: str, host: str) -> LoggedResponse | None:
    found = _COMBINED.match(line)
    if found is None:
        return None
    at = datetime.strptime(found["time"], "%d/%b/%Y:%H:%M:%S %z").timestamp()
    size = 0 if found["size"] == "-" else int(found["size"])
    return LoggedResponse(at, found["method"], host, found["target"], int(found["status"]), size)


def _json(line: str, host: str) -> LoggedResponse | None:
    facts = json.loads(line)
    if facts["mode"] != "http" or not facts["method"]:
        return None
    at = datetime.fromisoformat(facts["time"]).timestamp()
    refused = "not stored: " in str(facts.get("cache_reason", ""))
    shared = facts.get("cache", "") not in ("bypass", "refused", "purge") and not refused
    return LoggedResponse(
        at, str(facts["method"]), str(facts.get("host") or host), str(facts["target"]),
        int(facts["status"]), int(facts["bytes_out"]), shared,
    )  # fmt: skip
