"""CONTROL. ``lbproxy top``: a running lbproxy, live in a terminal."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from attrs import asdict, define

from lbproxy.cli.base import main, stop
from lbproxy.cli.remote import Remote, RequestRefused, remote_options

__all__ = ["add_large", "keys", "top"]

LARGE = 2000
"""Maximum number of servers of large backends that are shown."""

_KEYS = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[5~": "pageup", "\x1b[6~": "pagedown", "\x1b[H": "home",
    "\x1b[F": "end", "\x1bOA": "up", "\x1bOB": "down", "\x1bOH": "home", "\x1bOF": "end",
    "\r": "enter", "\n": "enter", "\x1b": "escape", "\x7f": "backspace", "\b": "backspace",
    "\t": "tab",
}  # fmt: skip


class _Lost(Exception):
    """The admin API does not answer at present."""


@define
class _Patient(Remote):
    """A remote whose failures are shown and do not end the command."""

    def _nobody(self, error: Exception) -> NoReturn:
        raise _Lost(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def keys(data: str) -> list[str]:
    """Return the pressed keys: characters, and names for keys that send several."""
    found = []
    while data:
        for length in (4, 3, 1):
            name = _KEYS.get(data[:length])
            if name is not None:
                break
        else:
            length, name = 1, data[0]
        found.append(name)
        data = data[length:]
    return found


@contextmanager
def _raw() -> Iterator[int]:
    """Yield the pressed keys of standard input."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@main.command("top")
@remote_options
@click.option(
    "--every",
    type=click.FloatRange(0.2, 60),
    default=1.0,
    show_default=True,
    help="Seconds between updates.",
)
def top(remote: Remote, every: float) -> None:
    """Watch a running lbproxy: rates, percentiles, servers, alerts; live.

    \b
    lbproxy top -c lb.ini
    Keys: q quit, tab servers/backends/frontends, s sort, r reverse, / filter, ? help.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        stop("top needs a terminal; `lbproxy status` does not")
    try:
        from lbproxy.cli.topview import TopView
    except ImportError:
        stop("top needs the library rich: pip install rich; `lbproxy status` does not")
    patient = _Patient(**asdict(remote))
    _run(patient, TopView(), every)


def _run(remote: Remote, view: Any, every: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with _raw() as fd, Live(console=console, screen=True, auto_refresh=False) as live:

        def draw() -> None:
            live.update(view.screen(console.width, console.height), refresh=True)

        signal.signal(signal.SIGWINCH, lambda *_: None)  # wakes up select
        try:
            while not view.over:
                _look(remote, view)
                draw()
                until = time.monotonic() + every
                while not view.over and (left := until - time.monotonic()) > 0:
                    if not select.select([fd], [], [], left)[0]:
                        break
                    data = os.read(fd, 1024)
                    if not data:
                        return  # the terminal was closed
                    for key in keys(data.decode("utf-8", "replace")):
                        view.press(key)
                    draw()
        except KeyboardInterrupt:
            return


def add_large(remote: Remote, state: dict[str, Any]) -> None:
    """Add servers of large backends, which the state omits: at most :data:`LARGE` of all of them.

    Servers that are down come first.
    """
    servers = state["servers"]
    have = Counter(row["backend"] for row in servers.values())
    room = LARGE
    for name, backend in state["backends"].items():
        for wanted in ({"state": "down"}, {}) if backend["servers"] > have[name] else ():
            if room > 0:
                rows = remote.all("servers", room, backend=name, **wanted)
                fresh = {f"{name}/{row['name']}": row for row in rows}
                room -= len(fresh.keys() - servers.keys())
                servers.update(fresh)


def _look(remote: Remote, view: Any) -> None:
    try:
        state = remote.get("state")
        add_large(remote, state)
        view.news(state)
    except _Lost as lost:
        view.trouble = f"no connection: {lost}"
    except RequestRefused as refused:
        view.trouble = f"refused: {refused.message}"
