"""An ordinary client: a request at fixed times, on a new connection now and then."""

from __future__ import annotations

import http.client
import time
from threading import Event, Thread

from attrs import define, field

__all__ = ["Visit", "Visitor"]

RATE = 50.0
"""Requests a second."""
PER_CONNECTION = 10
TIMEOUT = 20.0


@define
class Visit:
    """What a client saw. ``times``: seconds from when a request was due to its response."""

    times: list[float] = field(factory=list)
    failures: list[str] = field(factory=list)

    def percentile(self, percent: float) -> float:
        """In milliseconds; 0 without requests."""
        ordered = sorted(self.times)
        return (
            ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000
            if ordered
            else 0.0
        )


class Visitor:
    """A thread that visits ``port`` until :meth:`stop`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = Event()
        self.visit = Visit()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Visit:
        """End, and return what was seen."""
        self._over.set()
        self._thread.join(TIMEOUT * 2)
        return self.visit

    def _run(self) -> None:
        client: http.client.HTTPConnection | None = None
        begin = time.monotonic()
        for number in range(1_000_000):
            due = begin + number / RATE
            if self._over.wait(max(0.0, due - time.monotonic())):
                break
            if client is None:
                client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
            try:
                client.request("GET", "/small")
                response = client.getresponse()
                response.read()
                if response.status != 200:
                    self.visit.failures.append(str(response.status))
            except (OSError, http.client.HTTPException) as error:
                self.visit.failures.append(repr(error))
                client.close()
                client = None
                continue
            self.visit.times.append(time.monotonic() - due)
            if number % PER_CONNECTION == PER_CONNECTION - 1:
                client.close()
                client = None
        if client is not None:
            client.close()
