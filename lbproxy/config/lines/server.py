"""PURE. ``servers``: one line for each server of a backend."""

from __future__ import annotations

from collections.abc import Sequence

from lbproxy.config.line import Line, Scope, dump_words
from lbproxy.config.lines.discovery import is_template, read_template
from lbproxy.config.lines.serverwords import read_server
from lbproxy.config.options import Spot
from lbproxy.config.words import Word
from lbproxy.model import ServerSpec, TemplateSpec

__all__ = ["SERVER", "dump_server", "read_server"]


def dump_server(spec: ServerSpec) -> str:
    """Return the line that :func:`read_server` reads."""
    return dump_words(spec)


def _read(words: Sequence[Word], spot: Spot, scope: Scope) -> ServerSpec | TemplateSpec | None:
    """Read one server, or a line for several, which the section moves to the key ``discover``."""
    return read_template(words, spot) if is_template(words) else read_server(words, spot)


SERVER = Line(
    "server",
    _read,
    dump_server,
    words="server lines (see `server line`)",
    intro="""\
``NAME ADDRESS`` and options, one line for each server. All addresses of a DNS name are one line:
``NAME{A..B} dns:HOST:PORT`` and options (see `discovery line`).""",
    options=ServerSpec,
    unique=True,
)
