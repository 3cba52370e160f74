"""Clients that write through lbproxy and remember what was acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from tests.support.process import until

__all__ = ["Writers"]


class Writers:
    """``count`` threads that insert (writer, number) one at a time, each on a connection it makes
    anew when it breaks.

    ``connect()`` gives a connection with ``close()``; ``insert(connection, writer, number)``
    returns what it has learnt (the server's port, say) once the server has acknowledged it. A
    number whose insert failed is never used again: nobody knows whether it was done.
    """

    def __init__(
        self, connect: Callable[[], Any], insert: Callable[[Any, int, int], Any], count: int = 4
    ) -> None:
        self._connect = connect
        self._insert = insert
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: dict[tuple[int, int], tuple[float, Any]] = {}
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def more(self, count: int = 100, timeout: float = 60.0) -> None:
        """Wait until so many more are acknowledged."""
        goal = len(self.acknowledged) + count
        assert until(lambda: len(self.acknowledged) >= goal, timeout), self.errors[-5:]

    def gap(self) -> float:
        """The longest time in which nothing was acknowledged, in seconds."""
        times = sorted(when for when, _ in list(self.acknowledged.values()))
        return max(b - a for a, b in pairwise(times))

    def first_after(self, when: float) -> float:
        """How long after ``when`` (time.monotonic) the next one was acknowledged."""
        return min(t for t, _ in list(self.acknowledged.values()) if t > when) - when

    def last_by(self, what: Any) -> float:
        """When the last one was acknowledged of which ``insert`` returned ``what``."""
        return max(when for when, found in list(self.acknowledged.values()) if found == what)

    def _run(self, writer: int) -> None:
        number = 0
        connection = None
        while not self._over.is_set():
            number += 1
            try:
                if connection is None:
                    connection = self._connect()
                found = self._insert(connection, writer, number)
            except Exception as error:
                with self._lock:
                    self.errors.append(f"{type(error).__name__}: {error}")
                if connection is not None:
                    close(connection)
                connection = None
                time.sleep(0.01)
                continue
            with self._lock:
                self.acknowledged[writer, number] = (time.monotonic(), found)
        if connection is not None:
            close(connection)


def close(connection: Any) -> None:
    try:
        connection.close()
    except Exception:
        return
