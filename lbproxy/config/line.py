"""PURE. A class of line: how it is read, written back and described.

A class of line (a server, a listener, a check, a filter) is one :class:`Line` in
:mod:`lbproxy.config.lines`. A key of the model refers to it: ``line:check`` takes one,
``lines:server`` takes one for each line of the value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from attrs import field, frozen

from lbproxy.config.options import Spot, dump_options, read_options
from lbproxy.config.plugins import Resolve
from lbproxy.config.words import Word
from lbproxy.model import Mode

__all__ = ["Line", "Scope", "options_line"]


@frozen
class Scope:
    """The context of a line.

    ``names(kind)`` returns the names of the sections of a kind. ``mode``: mode of the section
    around the line.
    """

    resolve: Resolve
    names: Callable[[str], Collection[str]]
    mode: Mode = "http"


@frozen
class Line:
    """One class of line.

    ``read`` returns the spec, or None with errors reported to the spot. ``dump`` returns the text
    from which ``read`` creates the spec. ``unique``: the first word is a name, and no two lines of
    a value share it.

    For the reference: ``words`` describe the value of a key. ``default`` is called with the default
    of the field and describes it. ``intro`` begins the section about this line, ``options`` are the
    classes whose fields follow, and ``rows`` are (name, text) pairs after them. A line without
    ``intro`` has no section.
    """

    name: str
    read: Callable[[Sequence[Word], Spot, Scope], Any]
    dump: Callable[[Any], str]
    words: str
    default: Callable[[Any], str] = field(default=lambda value: "none")
    intro: str = ""
    options: type[Any] | None = None
    rows: Callable[[], Sequence[tuple[str, str]]] = field(default=tuple)
    unique: bool = False


def options_line(
    name: str, cls: type[Any], *, words: str, intro: str, unique: bool = False
) -> Line:
    """Return a line that consists of the positional words and the options of ``cls``."""

    def read(words: Sequence[Word], spot: Spot, scope: Scope) -> Any:
        values = read_options(cls, words, spot)
        return None if spot.failed else cls(**values, where=spot.where)

    return Line(name, read, dump_words, words, intro=intro, options=cls, unique=unique)


def dump_words(spec: Any) -> str:
    """Return the line of a spec that has only options."""
    return " ".join(dump_options(spec))
