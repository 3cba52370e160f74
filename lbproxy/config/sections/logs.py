"""PURE. Access logs: one for the process, others for single frontends."""

from __future__ import annotations

from lbproxy.config.draft import Draft
from lbproxy.config.lines.log import LOG_FILE, LOG_SYSLOG
from lbproxy.config.section import Judge
from lbproxy.http.condition import check_condition
from lbproxy.model import LogSpec, Mode
from lbproxy.observe.accesslog import check_format

__all__ = ["check_logs"]


def check_logs(judge: Judge) -> None:
    """A format is judged by the modes it is used in; the common one is reported once."""
    frontends = judge.drafts.of("frontend")
    common = [d for d in judge.drafts.of("lbproxy") if _log(d) is not None]
    own = [d for d in frontends if _log(d) is not None]
    inherit = {d.mode for d in frontends if "mode" not in d.broken and "access_log" not in d.lines}
    for draft in common:
        _check(draft, judge, inherit or {"http"})
    for draft in own:
        if "mode" not in draft.broken:
            _check(draft, judge, {draft.mode})
    _same_target([*common, *own], judge)


def _log(draft: Draft) -> LogSpec | None:
    log: LogSpec | None = draft.get("access_log", None)
    return log


def _same_target(drafts: list[Draft], judge: Judge) -> None:
    """Two logs with the same target must agree on how it is written."""
    first: dict[str, LogSpec] = {}
    for draft in drafts:
        log: LogSpec = draft.get("access_log")
        other = first.setdefault(log.path, log)
        for name in (*LOG_FILE, *LOG_SYSLOG):
            if log.path and getattr(log, name) != getattr(other, name):
                message = f"{name} is not as at {other.where}, which writes to the same place"
                judge.wrong(draft, log.where, "access_log", message, found=name)
                break


def _check(draft: Draft, judge: Judge, modes: set[Mode]) -> None:
    log: LogSpec = draft.get("access_log")
    spot = judge.spot(draft, "access_log", log.where)
    if log.keep != LogSpec().keep and not (log.rotate_size or log.rotate_every):
        spot.wrong("option 'keep' has no effect without 'rotate_size' or 'rotate_every'")
    for mode in sorted(modes):
        try:
            check_format(log.format, mode)
            for verb, args, _ in log.conditions:
                check_condition(verb, args, mode, response=True)
        except ValueError as error:
            spot.caught(error)
            return
