"""PURE. Log lines as syslog messages (RFC 5424), for :mod:`lbproxy.logs.syslog`."""

from __future__ import annotations

from lbproxy.observe.timestamps import rfc3339_stamp

__all__ = ["FACILITIES", "MESSAGE_LIMIT", "Framer"]

MESSAGE_LIMIT = 8 * 1024
"""Maximum length of a message in bytes, as rsyslog and syslog-ng accept by default; the rest is
cut.
"""

_NAMES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp",
)  # fmt: skip

FACILITIES = {
    **{name: number for number, name in enumerate(_NAMES)},
    **{f"local{n}": 16 + n for n in range(8)},
}
"""Facilities by number (RFC 5424 §6.2.1)."""

_INFORMATIONAL = 6


class Framer:
    """Converts lines to messages.

    ``host`` and ``tag`` are cut and cleaned as RFC 5424 §6 requires. ``counted``: each message is
    preceded by its length, for TCP (RFC 6587 §3.4.1).
    """

    def __init__(
        self, facility: str, host: str, tag: str, pid: int, *, counted: bool = False
    ) -> None:
        priority = FACILITIES[facility] * 8 + _INFORMATIONAL
        self._before = f"<{priority}>1 ".encode()
        self._after = f" {_printable(host, 255)} {_printable(tag, 48)} {pid} - - ".encode()
        self._counted = counted
        self._stamp = rfc3339_stamp()

    def header(self, now: float) -> bytes:
        """Return the part of a message before its text. ``now``: Unix time."""
        return self._before + self._stamp(now).encode() + self._after

    def frame(self, header: bytes, line: bytes) -> bytes:
        """Return ``line``, without its line feed, as a complete message."""
        message = (header + line)[:MESSAGE_LIMIT]
        return b"%d %b" % (len(message), message) if self._counted else message


def _printable(text: str, limit: int) -> str:
    """Return printable ASCII without spaces; "-" if nothing remains."""
    return "".join(c for c in text if "!" <= c <= "~")[:limit] or "-"
