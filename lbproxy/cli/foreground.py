"""CONTROL. ``lbproxy run``: twistd in the foreground with one program, logging to standard error.

twistd itself imports every module in the ``twisted/plugins`` folders for its list of programs. It
also writes a cache beside them, and logs a warning if the folder is not writable.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from twisted.application import app
from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]

from twisted.plugins.lbproxy_plugin import lbproxy as MAKER

__all__ = ["ForegroundOptions", "main"]


class ForegroundOptions(ServerOptions):
    """The options of twistd, with lbproxy as the only program.

    :mod:`lbproxy.tap` reads ``stream``, the destination of the process log without ``--logfile``,
    and ``program``, the Python code that starts this program again (upgrade).
    """

    stream = sys.stderr
    program = "from lbproxy.cli.foreground import main; main()"

    @property
    def subCommands(self) -> Iterator[tuple[str, None, Any, str]]:
        """See ServerOptions. It also sets the list of programs."""
        self.loadedPlugins = {MAKER.tapname: MAKER}
        yield MAKER.tapname, None, MAKER.options, MAKER.description


def main() -> None:
    """Run with the options in ``sys.argv``, as twistd does."""
    app.run(runApp, ForegroundOptions)
