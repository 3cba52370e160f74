"""CONTROL. ``lbproxy completion``: completion of commands, options and names of servers."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from lbproxy.cli.base import main

__all__ = ["completion"]

VARIABLE = "_LBPROXY_COMPLETE"
"""The environment variable through which the shell's function requests completions from the
command.
"""


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion function for a shell.

    \b
    lbproxy completion bash > /etc/bash_completion.d/lbproxy
    lbproxy completion zsh > "${fpath[1]}/_lbproxy"
    lbproxy completion fish > ~/.config/fish/completions/lbproxy.fish

    Commands, options and files are completed, and names of backends and servers from the
    configuration that the command uses (-c FILE, or lb.ini in this folder).
    """
    made = get_completion_class(shell)
    if made is None:  # click supports exactly the shells above
        sys.exit(f"lbproxy: no completion for {shell}")
    click.echo(made(main, {}, "lbproxy", VARIABLE).source())
