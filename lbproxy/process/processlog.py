"""CONTROL. The process log: messages for operators from lbproxy and Twisted, as text or JSON.

:mod:`lbproxy.tap` creates it to replace twistd's observer, with the same destination.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
)
from zope.interface import implementer

__all__ = ["ProcessLog", "json_line"]


@implementer(ILogObserver)
class ProcessLog:
    """Write each event as one line to ``stream``.

    ``form()`` returns ``text`` or ``json``. It is called for each line, so that a reload can change
    it. A line that cannot be written is lost.
    """

    def __init__(self, stream: TextIO | Any, form: Callable[[], str]) -> None:
        self._stream = stream
        self._form = form

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        line = json_line(event) if self._form() == "json" else formatEventAsClassicLogText(event)
        if not line:
            return
        # file names that are not UTF-8 contain surrogates, which no file accepts
        line = line.encode("utf-8", "backslashreplace").decode()
        with suppress(OSError, ValueError):
            self._stream.write(line)
            self._stream.flush()


def json_line(event: LogEvent) -> str:
    """Return the event as one line of JSON; "" if it has no text.

    ``time`` is UTC, ``level`` one of debug, info, warn, error and critical, ``logger`` the module.
    ``traceback`` is present for failures only.
    """
    text = formatEvent(event)
    failure = event.get("log_failure")
    if not text and failure is None:
        return ""
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    level = event.get("log_level") or LogLevel.info
    record = {
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level.name,
        "logger": _logger(event),
        "message": text,
    }
    if failure is not None:
        record["traceback"] = failure.getTraceback()
    return json.dumps(record, ensure_ascii=False) + "\n"


def _logger(event: LogEvent) -> str:
    """Return the module; "twisted" for events of Twisted's old logging, which has no module
    names.
    """
    name = str(event.get("log_namespace") or "")
    return name if name and name != "log_legacy" else "twisted"
