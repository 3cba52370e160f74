"""CONTROL. Notifications for systemd (``Type=notify``) by the protocol of sd_notify(3), one
datagram each.

Nothing is sent without ``NOTIFY_SOCKET`` in the environment. :mod:`lbproxy.tap` calls it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import Logger

__all__ = ["Systemd"]

_log = Logger()

_POLL = 0.1  # seconds between two checks whether all workers serve


class Systemd:
    """Notifies systemd. ``reactor``: IReactorTime.

    ``serving()`` returns whether traffic is served. It is called until it returns True.

    ``turning()`` returns whether the reactors of all worker processes run. While it returns False,
    the watchdog is not fed.
    """

    def __init__(
        self,
        reactor: Any,
        serving: Callable[[], bool],
        environment: Mapping[str, str] = os.environ,
        turning: Callable[[], bool] = lambda: True,
    ) -> None:
        self._reactor = reactor
        self._turning = turning
        self._serving = serving
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._watchdog_s = self._watchdog(environment)

    @staticmethod
    def _watchdog(environment: Mapping[str, str]) -> float:
        """Return the interval of systemd's watchdog in seconds, 0 without one."""
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        if not usec.isdigit() or (pid and pid != str(os.getpid())):
            return 0.0
        return int(usec) / 1e6

    def start(self) -> None:
        """Report the start, once the reactor runs."""
        if self._address:
            self._wait()
            if self._watchdog_s:
                self._alive()

    def _wait(self) -> None:
        if self._serving():
            self.tell("READY=1", "STATUS=serving")
        else:
            self._reactor.callLater(_POLL, self._wait)

    def _alive(self) -> None:
        """Feed the watchdog, twice per interval, so that it detects a reactor turn that takes too
        long.
        """
        if self._turning():
            self.tell("WATCHDOG=1")
        self._reactor.callLater(self._watchdog_s / 2, self._alive)

    def reload(self, work: Callable[[], Any]) -> Any:
        """Run ``work()`` as a reload. systemd waits for its end."""
        self.tell(
            "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
        )
        report = work()
        self.tell("READY=1", f"STATUS={report.summary()}")
        return report

    def stopping(self) -> None:
        """Report that the process stops."""
        self.tell("STOPPING=1", "STATUS=sessions may finish")

    def handed_over(self, pid: int) -> None:
        """Report the new main process. Nothing more is sent from this process."""
        self.tell(f"MAINPID={pid}", "STATUS=serving after an upgrade")
        self._address = ""

    def tell(self, *lines: str) -> None:
        """Send a notification. Errors are logged."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.connect(address)
                sock.send("\n".join(line.replace("\n", " ") for line in lines).encode())
        except OSError as error:
            _log.warn("cannot notify systemd: {error}", error=error)
