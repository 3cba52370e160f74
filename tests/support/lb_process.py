"""lbproxy itself as a child process, as users start it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from lbproxy.registry import load_config
from tests.support.process import PATIENCE_S, Child, accepts, catches

__all__ = ["LBProcess", "sooner"]

ROOT = Path(__file__).resolve().parents[2]


class LBProcess:
    """``twistd -n lbproxy --config FILE`` with its files in ``folder``.

    ``text``: the configuration (indentation in common is removed).  ``ports``: wait until these
    accept; default: every TCP port that ``text`` listens on.  ``cores``: pin the process to these.
    ``prefix``: a command to run it under.  ``modules``: a folder
    whose Python modules come before all others.  ``forked``: start it by a fork, if none of these
    asks for an interpreter of its own (:mod:`tests.support.forkserver`).
    """

    def __init__(
        self,
        text: str,
        folder: Path,
        *,
        ports: Sequence[int] = (),
        cores: Sequence[int] = (),
        prefix: Sequence[str] = (),
        modules: Path | None = None,
        timeout: float = PATIENCE_S,
        forked: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "lb.ini"
        self.config.write_text(dedent(text))
        self.ports = list(ports) or _ports(self.config)
        path = str(ROOT) if modules is None else f"{modules}{os.pathsep}{ROOT}"
        self.child = Child(
            [*prefix, *_twistd(), "--nodaemon", "--pidfile=", "lbproxy", "--config", "lb.ini"],
            folder / "lbproxy.log",
            cwd=folder,
            env={"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            cores=cores,
            twistd=forked and not (prefix or cores or modules),
        )
        # it accepts before it handles signals, and a test may be over at once
        self.child.wait_ready(
            lambda: (
                all(accepts(port) for port in self.ports)
                and (bool(prefix) or catches(self.child.pid, signal.SIGTERM))
            ),
            timeout,
        )

    def rewrite(self, text: str) -> None:
        """Another configuration for the next reload, in one step: one may be reading the
        file now.
        """
        new = self.config.with_suffix(".new")
        new.write_text(text)
        new.replace(self.config)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    @property
    def alive(self) -> bool:
        """Has not ended."""
        return self.child.alive

    def output(self) -> str:
        """Its log so far (the end of it)."""
        return self.child.output()

    def rss_bytes(self) -> int:
        """Resident memory."""
        return self.child.rss_bytes()

    def descriptors(self) -> int:
        """Open file descriptors."""
        return self.child.descriptors()

    def stop(self, number: int = signal.SIGTERM, timeout: float = PATIENCE_S) -> int:
        """Stop it in good order; its exit status (twistd ends by the signal it was sent: -15)."""
        return self.child.stop(number, timeout)

    def __enter__(self) -> LBProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def sooner(folder: Path, name: str, seconds: float) -> Path:
    """Return a folder for ``modules`` which sets ``name``, the dotted name of a constant of an
    interpreted module, to ``seconds``.
    """
    module, _, constant = name.rpartition(".")
    folder.mkdir()
    text = f"import {module} as module\nassert hasattr(module, {constant!r})\n"
    (folder / "sitecustomize.py").write_text(f"{text}module.{constant} = {seconds}\n")
    return folder


def _ports(config: Path) -> list[int]:
    """The TCP ports a configuration listens on."""
    addresses = [listen.address for spec in load_config(config).frontends for listen in spec.listen]
    return [address.port for address in addresses if address is not None and address.port]


def _twistd() -> list[str]:
    """The twistd of this interpreter, whether or not its script is installed."""
    return [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
