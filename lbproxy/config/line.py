"""PURE. What a line of a value is: how it is read, written back and described.

A class of line (a server, a listener, a check, a filter) is one :class:`Line` in :mod:`lbproxy.config.lines`.  A key of
the model names it: ``line:check`` takes one, ``lines:server`` one for each line of the value.
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
    """What a line may refer to while it is read.

    ``names(kind)`` gives the names of the sections of a kind; ``mode`` is the mode of the section around the line.
    """

    resolve: Resolve
    names: Callable[[str], Collection[str]]
    mode: Mode = "http"


@frozen
class Line:
    """One class of line.

    ``read`` gives the spec, or None with the mistakes reported to the spot; ``dump`` gives the text that ``read``
    makes the spec of.

    ``unique``: no two lines of a value begin with the same word, which is a name.

    For the reference: ``words`` describe the value of a key, ``default`` its value when the key is not written
    (called with the default of the field), ``intro`` begins the part about this line, ``options`` are the classes
    whose fields follow, and ``rows`` are (name, text) pairs after them.  A line without ``intro`` has no part.
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
    """A line that is the positional words and the options of ``cls`` and nothing else."""

    def read(words: Sequence[Word], spot: Spot, scope: Scope) -> Any:
        values = read_options(cls, words, spot)
        return None if spot.failed else cls(**values, where=spot.where)

    return Line(name, read, dump_words, words, intro=intro, options=cls, unique=unique)


def dump_words(spec: Any) -> str:
    """The line of a spec that has nothing but options."""
    return " ".join(dump_options(spec))
