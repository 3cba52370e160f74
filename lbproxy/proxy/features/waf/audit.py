"""DATA. The audit log of a firewall: a line of JSON for each request that matched a rule.

Lines have ids, messages and the names of parts, but never values, which may be passwords, tokens
or personal data. The path has no query. A line is written by one system call, so several processes
can share a file. A file that was renamed or removed is reopened within a second. A pipe without a
reader loses lines, and never delays traffic.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.logger import Logger

from lbproxy.http.message import text_of
from lbproxy.observe.timestamps import rfc3339_stamp
from lbproxy.proxy.ratelog import Quiet

__all__ = ["AuditEntry", "AuditLog", "MatchedRule", "matched"]

_LOOK_S: Final = 1.0
_LONGEST: Final = 200
_quiet: Final = Quiet(Logger(__name__))


@frozen
class MatchedRule:
    """A rule that matched; ``target``: the name of the part, such as ``ARGS:q``."""

    id: int
    message: str
    target: str

    def __str__(self) -> str:
        return f"{self.id} {self.message}{f' in {self.target}' if self.target else ''}"


@frozen
class AuditEntry:
    """The result for one request. ``action``: ``blocked``, ``detected`` or ``passed``.

    ``phase``: ``request`` or ``response``."""

    action: str
    score: int
    threshold: int
    rules: tuple[MatchedRule, ...]
    phase: str = "request"


class AuditLog:
    """Appends to the file ``path``; errors are logged, and traffic continues."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._looked = 0.0
        self._stamp = rfc3339_stamp()

    def check(self) -> None:
        """Raise ValueError if the folder of the file does not exist."""
        path = Path(self._path)
        if path.is_dir():
            raise ValueError(f"audit: {path} is a folder")
        if not path.parent.is_dir():
            raise ValueError(f"audit: there is no folder {path.parent}")

    def write(self, name: str, traffic: Any, finding: AuditEntry, now: float) -> None:
        """Add the line of a request. ``now``: Unix time."""
        head = traffic.request
        line = {
            "time": self._stamp(now),
            "waf": name,
            "request_id": traffic.request_id,
            "action": finding.action,
            "phase": finding.phase,
            "score": finding.score,
            "threshold": finding.threshold,
            "client_ip": traffic.client_ip,
            "frontend": traffic.frontend_name,
            "route": traffic.route,
            "method": text_of(head.method)[:_LONGEST],
            "host": text_of(head.host)[:_LONGEST],
            "path": text_of(head.path)[:_LONGEST],
            "rules": [_rule(one) for one in finding.rules],
        }
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            self._open(now)
            os.write(self._fd, data)
        except OSError as error:
            _quiet.warn(self._path, "{path}: {error}", path=self._path, error=error.strerror)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, now: float) -> None:
        if self._fd >= 0 and 0 <= now - self._looked < _LOOK_S:
            return
        self._looked = now
        if self._fd >= 0 and not self._is_same():
            self.close()
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._fd = os.open(self._path, flags, 0o640)

    def _is_same(self) -> bool:
        try:
            there = os.stat(self._path)  # noqa: PTH116
        except OSError:
            return False
        ours = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _rule(one: MatchedRule) -> dict[str, Any]:
    return {"id": one.id, "message": one.message, "target": one.target}


def matched(rules: Iterable[Any]) -> tuple[MatchedRule, ...]:
    """Return hits of the built-in rules without the matched values."""
    return tuple(MatchedRule(hit.rule.id, hit.rule.message, hit.part) for hit in rules)
