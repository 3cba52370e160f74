"""DATA. Pauses of the client's request body while a target cannot take it."""

from __future__ import annotations

from lbproxy.proxy.http.sink import Asking

__all__ = ["UploadPause"]


class UploadPause:
    """Pauses the client behind ``sink`` while there is a reason to.

    ``waiting``: there is no connection for the body. ``blocked``: the target accepts no more data.
    """

    def __init__(self, sink: Asking) -> None:
        self._sink = sink
        self._waiting = False
        self._blocked = False

    def wait(self, waiting: bool) -> None:
        """Set whether the body must wait for a connection."""
        self._set(waiting, self._blocked)

    def block(self, blocked: bool) -> None:
        """Set whether the target accepts no more data."""
        self._set(self._waiting, blocked)

    def renew(self, waiting: bool) -> None:
        """Reset the state after a lost connection, before the next one."""
        self._set(waiting, False)

    def _set(self, waiting: bool, blocked: bool) -> None:
        before = self._waiting or self._blocked
        self._waiting, self._blocked = waiting, blocked
        if (waiting or blocked) is not before:
            if before:
                self._sink.server_resumed()
            else:
                self._sink.server_paused()
