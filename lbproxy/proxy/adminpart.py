"""DATA. The admin part of a feature as data, which :mod:`lbproxy.admin.parts.features` interprets.

Kinds of values are words: ``string``, ``count`` (a whole number from 0), ``number``, ``boolean``. A
list of one kind is a list, a dict an object; a key that ends in ``?`` is optional. :class:`Many`
and :class:`Maybe` express the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from attrs import field, frozen

__all__ = ["AdminPart", "Argument", "Column", "Fields", "Many", "Maybe", "Operation"]

Fields = Mapping[str, Any]


@frozen
class Many:
    """An object with names as keys and values of one ``kind``."""

    kind: Any


@frozen
class Maybe:
    """A value of ``kind``, or null."""

    kind: Any


@frozen
class Column:
    """One column of a panel: a key of its rows, its title, and its format.

    ``unit``: "" (as it is), ``count``, ``bytes``, ``seconds``, ``time`` (Unix time), ``percent``
    (of a share from 0 to 1), ``rate`` (growth per second) or ``switch`` (``on``, ``off`` or
    ``auto`` of a frontend, with buttons that POST another one to the path of the API that has the
    name of the rows).
    """

    key: str
    title: str
    unit: str = ""


@frozen
class Argument:
    """A query parameter of an operation: a whole number between two bounds, or the name of a
    server.
    """

    doc: str
    kind: Literal["integer", "server"] = "integer"
    low: int = 0
    high: int = 0
    default: int | None = None


@frozen
class Operation:
    """A request of the API: ``METHOD /api/v1/backends/NAME/path``.

    ``run(feature, **arguments)`` returns the response, whose kinds are ``answer``; a ValueError is
    answered with 409. GET requires the role ``read``, other methods ``write``. ``everywhere``:
    worker processes run it too, and the response is that of the master.
    """

    method: str
    path: str
    summary: str
    run: Callable[..., Any]
    answer: Fields
    arguments: Mapping[str, Argument] = field(factory=dict)
    everywhere: bool = False

    @property
    def key(self) -> str:
        """The identity of an operation within its feature: ``METHOD path``."""
        return f"{self.method} {self.path}"


@frozen
class AdminPart:
    """The admin part of a feature. ``state``: the name in ``GET /api/v1/state`` of the rows of all
    owners, "" for none. ``title``: of the panel.

    ``fields``: kinds of :meth:`lbproxy.proxy.feature.Feature.snapshot`. ``row``: kinds of
    :meth:`lbproxy.proxy.feature.Feature.row`, to which the owner's name is added under
    ``owner_key``. ``columns``: the columns of the panel.
    """

    name: str
    state: str = ""
    title: str = ""
    fields: Fields = field(factory=dict)
    row: Fields = field(factory=dict)
    columns: tuple[Column, ...] = ()
    owner_key: str = "name"
    operations: tuple[Operation, ...] = ()
