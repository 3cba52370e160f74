"""CONTROL. The ``lbproxy`` command: one module for each group of subcommands.

:mod:`lbproxy.cli.base` has the command itself and what they share; a new group is one module, imported below.
"""

from __future__ import annotations

from lbproxy.cli import affinity, alert, change, offline, replay, serve, show, top
from lbproxy.cli.base import main

__all__ = ["affinity", "alert", "change", "main", "offline", "replay", "serve", "show", "top"]
