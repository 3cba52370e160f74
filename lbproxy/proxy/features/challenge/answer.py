"""DATA. The source that receives the answer of a challenge page: it reads a small form.

``timeout_body`` limits the time for the form, as for any body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

from lbproxy.http.message import End, Reply, RequestHead, ResponseHead
from lbproxy.proxy.http.sink import Asking
from lbproxy.proxy.http.source import STARTING, Source
from lbproxy.proxy.http.streams import SourceStream

__all__ = ["FORM_BYTES", "AnswerSource", "form_fields"]

FORM_BYTES: Final = 1024
"""Maximum size of a form, in bytes."""

Judge = Callable[[Any, bytes], Reply]
"""Called with the traffic and the form; returns the reply."""


class AnswerSource(Source):
    """Passes the form to ``judge``, and its reply to the client. A longer form is truncated."""

    name = "challenge"
    origin = False

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def begin(self, head: RequestHead, data: bytes, end: End | None, sink: Asking) -> SourceStream:
        """See :class:`Source`."""
        if head.expect_continue and not data and end is None and head.version >= 11:
            sink.server_events([ResponseHead(100, [], b"Continue")])
        form = _Form(self.judge, sink)
        form.send_body(data, end)
        return form


class _Form:
    """The stream of an exchange that sends a form."""

    queued = False

    def __init__(self, judge: Judge, sink: Asking) -> None:
        self._judge = judge
        self._sink = sink
        self._data = b""
        self._over = False

    def send_body(self, data: bytes, end: End | None) -> None:
        """See :class:`SourceStream`."""
        if self._over:
            return
        self._data += data[: FORM_BYTES - len(self._data)]
        if end is not None or len(self._data) >= FORM_BYTES:
            self._over = True
            self._sink.hook_replied(self._judge(self._sink.traffic, self._data))

    def pause_response(self) -> None:
        """See :class:`SourceStream`: another source sends the reply."""

    def resume_response(self) -> None:
        """See :class:`SourceStream`."""

    def start_tunnel(self) -> bytes:
        """See :class:`SourceStream`."""
        return STARTING.start_tunnel()

    def close(self, *, reuse: bool) -> None:
        """See :class:`SourceStream`."""
        self._over = True


def form_fields(form: bytes) -> dict[str, str]:
    """Return the fields of a form, the first of each name; {} for anything else."""
    try:
        found = parse_qs(form.decode("ascii"), max_num_fields=8)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}
