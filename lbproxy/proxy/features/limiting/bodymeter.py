"""DATA. The bodies of a request with a throttle."""

from __future__ import annotations

from typing import Any

from lbproxy.http.transform import Transform
from lbproxy.proxy.features.limiting.gate import Throttle
from lbproxy.proxy.features.limiting.verdict import PATIENCE

__all__ = ["BodyMeter"]


class BodyMeter(Transform):
    """Charges a body, and pauses its sender. ``upload``: the body of the request, which a retry
    sends again but the limit counts once.

    A complete body is not paused, so that its request ends when its last byte is sent.
    """

    keeps_length = True

    def __init__(self, throttle: Throttle, upload: bool) -> None:
        self._throttle = throttle
        self._upload = upload
        self._size = 0
        self._left = -1  # remaining bytes; -1: unknown

    def start(self, head: Any) -> None:
        """See :class:`Transform`."""
        if head.length is not None:
            self._left = head.length
        self._throttle.add(self._hold)

    def _hold(self, held: bool) -> None:
        if held:
            self.flow.pause(2 * PATIENCE)
        else:
            self.flow.resume()

    def data(self, data: bytes) -> bytes:
        """See :class:`Transform`."""
        size = len(data)
        self._size += size
        if self._left >= 0:
            self._left -= size
            if self._left <= 0:
                self._throttle.remove(self._hold)
        if self._upload:
            size = max(0, self._size - self._throttle.uploaded)
            self._throttle.uploaded += size
        if size:
            self._throttle.passed(size)
        return data

    def end(self) -> bytes:
        """See :class:`Transform`."""
        self._throttle.remove(self._hold)
        return b""
