"""lbproxy in a live test: the child process, what it wrote into its logs, how much memory
it takes.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.lb_process import LBProcess
from tests.support.process import PATIENCE_S, UNKNOWN_STATUS, until

__all__ = ["MEGABYTE", "ONE_TRANSPORT", "Balancer"]

MEGABYTE = 1024 * 1024

ONE_TRANSPORT = pytest.mark.parametrize(
    "transport", ["epoll", pytest.param("twisted", marks=pytest.mark.long)]
)
"""For a test of what does not depend on the transport: its second run is a long test."""


class Balancer:
    """``twistd -n lbproxy`` with ``text`` below a ``[lbproxy]`` section of its own.

    ``settings``: more lines of that section.  ``ports``: wait until these accept; default: all that
    ``text`` listens on. ``modules``: see :class:`LBProcess`, which forks it unless they are given.
    ``tracebacks``: last lines of those that its log may have.
    """

    tracebacks: Sequence[str] = ()

    def __init__(
        self,
        text: str,
        folder: Path,
        transport: str,
        *,
        settings: str = "",
        ports: Sequence[int] = (),
        modules: Path | None = None,
    ) -> None:
        self.killed = False
        self.access_log = folder / "access.log"
        head = f"[lbproxy]\ntransport = {transport}\naccess_log = access.log json\n"
        self.process = LBProcess(
            f"{head}timeout_shutdown = 2s\n{settings}\n{text}",
            folder,
            ports=ports,
            modules=modules,
            forked=True,
        )

    # -- what it wrote

    def records(self) -> list[dict[str, Any]]:
        """The access log: every line is JSON."""
        if not self.access_log.exists():
            return []
        lines = self.access_log.read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def wait_records(self, count: int, **wanted: Any) -> list[dict[str, Any]]:
        """The records with these values, once there are ``count`` of them."""

        def found() -> list[dict[str, Any]]:
            return [r for r in self.records() if all(r.get(k) == v for k, v in wanted.items())]

        assert until(lambda: len(found()) >= count), (
            f"not {count} records with {wanted}: {self.records()[-20:]}"
        )
        return found()

    def output(self) -> str:
        """All of its own log."""
        return self.process.child.log.read_text(errors="replace")

    def wait_output(self, text: str, count: int = 1, timeout: float = PATIENCE_S) -> None:
        """Until its log holds ``text`` so many times."""
        assert until(lambda: self.output().count(text) >= count, timeout), (
            f"no {text!r} (x{count}) in\n{self.output()[-4000:]}"
        )

    # -- memory

    def growth(self, work: Callable[[], Any]) -> tuple[Any, float]:
        """What ``work`` returns, and by how many megabytes the peak of resident memory rose
        meanwhile.
        """
        child = self.process.child
        Path(f"/proc/{child.pid}/clear_refs").write_text("5")  # the peak begins anew
        before = child.rss_bytes()
        result = work()
        assert self.process.alive, self.output()[-4000:]
        return result, (child.rss_bytes(peak=True) - before) / MEGABYTE

    # -- the end

    def kill(self) -> None:
        """Kill it."""
        self.killed = True
        os.kill(self.process.pid, signal.SIGKILL)
        assert until(lambda: not self.process.alive)

    def finish(self) -> None:
        """Stop it; it has to end by itself, with nothing to complain about."""
        if self.killed:
            return
        alive = self.process.alive
        status = self.process.stop()
        output = self.output()
        assert alive, f"it ended by itself, with {status}\n{output[-4000:]}"
        # twistd stops in good order, and then gives itself the signal it got
        assert status in (-signal.SIGTERM, UNKNOWN_STATUS), f"ended with {status}\n{output[-4000:]}"
        assert "Server Shut Down" in output, output[-4000:]
        expected = sum(output.count(line) for line in self.tracebacks)
        assert output.count("Traceback") <= expected, output[-8000:]
        assert "Unhandled" not in output, output[-8000:]
