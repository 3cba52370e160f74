"""PURE. Checks of access logs: those of the process, and those of frontends."""

from __future__ import annotations

from lbproxy.config.draft import Draft
from lbproxy.config.lines.log import LOG_FILE, LOG_SYSLOG
from lbproxy.config.options import Spot
from lbproxy.config.section import Judge
from lbproxy.http.condition import check_condition
from lbproxy.model import LogSpec, Mode
from lbproxy.observe.accesslog import check_format

__all__ = ["check_logs"]


_KEYS = ("access_log", "more_logs")


def check_logs(judge: Judge) -> None:
    """Check each format for the modes that use it. An error in the common log is reported once."""
    frontends = judge.drafts.of("frontend")
    common = judge.drafts.of("lbproxy")
    for key in _KEYS:
        inherit = {d.mode for d in frontends if "mode" not in d.broken and key not in d.lines}
        for draft in common:
            _check(draft, key, judge, inherit or {"http"})
        for draft in frontends:
            if "mode" not in draft.broken:
                _check(draft, key, judge, {draft.mode})
    _same_target([*common, *frontends], judge)


def _logs(draft: Draft, key: str) -> tuple[LogSpec, ...]:
    """Return the logs that were written under ``key``."""
    value: LogSpec | tuple[LogSpec, ...] | None = draft.get(key, None)
    if value is None:
        return ()
    return (value,) if isinstance(value, LogSpec) else value


def _same_target(drafts: list[Draft], judge: Judge) -> None:
    """Report logs with the same destination but different settings."""
    first: dict[str, LogSpec] = {}
    for draft in drafts:
        for key in _KEYS:
            for log in _logs(draft, key):
                _agrees(draft, key, log, first.setdefault(log.path, log), judge)


def _agrees(draft: Draft, key: str, log: LogSpec, other: LogSpec, judge: Judge) -> None:
    for name in (*LOG_FILE, *LOG_SYSLOG):
        if log.path and getattr(log, name) != getattr(other, name):
            message = f"{name} differs from that at {other.where}, which has the same destination"
            judge.wrong(draft, log.where, key, message, found=name)
            return


def _check(draft: Draft, key: str, judge: Judge, modes: set[Mode]) -> None:
    for log in _logs(draft, key):
        _check_log(log, judge.spot(draft, key, log.where), modes)


def _check_log(log: LogSpec, spot: Spot, modes: set[Mode]) -> None:
    if log.keep != LogSpec().keep and not (log.rotate_size or log.rotate_every):
        spot.wrong("option 'keep' has no effect without 'rotate_size' or 'rotate_every'")
    for mode in sorted(modes):
        try:
            check_format(log.format, mode)
            for verb, args, _ in log.conditions:
                check_condition(verb, args, mode, response=True)
        except ValueError as error:
            both = "; frontends of both modes use this log" if len(modes) > 1 else ""
            spot.caught(ValueError(f"{error}{both}"))
            return
