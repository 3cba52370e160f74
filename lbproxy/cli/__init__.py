"""CONTROL. The ``lbproxy`` command: one module for each group of subcommands.

:mod:`lbproxy.cli.base` has the command itself and common functions. A new group is one module and
one line in its table ``COMMANDS``.
"""

from __future__ import annotations

from lbproxy.cli.base import main

__all__ = ["main"]
