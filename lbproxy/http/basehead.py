"""PURE. The common part of the heads of requests and responses: lines, and a list of edits.

A received head consists of :class:`~lbproxy.http.scan.Lines`, which never change, and edits: known
names and single lines that are left out, and lines that are added at the end. Heads derived from it
for the other side share the lines. Callers do not see this: ``headers``, ``header()`` and the other
methods read the result.

``headers`` is a real list, for filters. Its user may change and keep it, so that from then on the
list is authoritative, and the head is written from it. The methods do not need it.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i64_le
from mypy_extensions import i64

from lbproxy.http.headerlist import Headers, every_value, first_value, less, outside
from lbproxy.http.known import HOST, FieldName, bit, field_name
from lbproxy.http.scan import MASK, ROW, Lines, lines_of

__all__ = ["Head", "Headers", "Ours", "every_value"]

_MOST_GONE: Final = 62  # the bit set covers only lines up to this index
_FEW: Final = 8  # maximum number of names that are removed one by one; more are removed in one pass


class Ours:
    """Lines that lbproxy adds to heads: ``pairs``, and ``encoded`` as they are sent.

    They never change. ``te``: TE is among them. ``present``: the set of their known names.
    """

    __slots__ = ("encoded", "pairs", "present", "te")

    def __init__(self, pairs: Headers, encoded: bytes, te: bool = False) -> None:
        self.pairs = pairs
        self.encoded = encoded
        self.te = te
        present: i64 = 0
        for name, _ in pairs:
            present |= bit(field_name(name).number)
        self.present: i64 = present


class Head:
    """Header access shared by requests and responses.

    For the writers and the forwarder: ``lines``, without the known names in ``without`` (a set of
    bits) and the lines in ``gone`` (by index). ``host_line`` replaces the value of the Host line,
    or adds a first Host line if none exists. Then follow the lines ``before``, ``ours`` and
    ``added``. All of this applies only while ``listed`` is false.
    """

    __slots__ = (
        "_list",
        "added",
        "before",
        "gone",
        "host_line",
        "lines",
        "ours",
        "without",
    )

    def __init__(self, headers: Headers | None, lines: Lines) -> None:
        self._list = headers
        self.lines = lines
        self.without: i64 = 0
        self.gone: i64 = 0
        self.host_line: bytes | None = None
        self.before: Headers | None = None
        self.ours: Ours | None = None
        self.added: Headers | None = None

    # -- as a list ------------------------------------------------------------------------------

    @property
    def headers(self) -> Headers:
        """The lines as (name, value) pairs, to read and to change."""
        found = self._list
        if found is None:
            found = self._list = self.pairs()
        return found

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._list = headers

    @property
    def listed(self) -> bool:
        """True if the list is in use, which may differ from ``lines``."""
        return self._list is not None

    def pairs(self) -> Headers:
        """Return the lines as (name, value), in a new list."""
        if self._list is not None:
            return self._list.copy()
        out: Headers = []
        lines = self.lines
        host = self.host_line
        if host is not None and not self.present >> HOST & 1:
            out.append((b"Host", host))
        index: i64 = 0
        while index < lines.count:
            if self._stands(index):
                if host is not None and lines.number_at(index) == HOST:
                    out.append((lines.name_at(index), host))
                else:
                    out.append((lines.name_at(index), lines.value_at(index)))
            index += 1
        out += self._behind()
        return out

    def settled(self) -> Head:
        """Return this head, or one with lines created from its list.

        Raises ValueError or TypeError for lines that cannot be written.
        """
        return self if self._list is None else Head(None, lines_of(self._list))

    # -- one name -------------------------------------------------------------------------------

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of ``name`` (any case), or None."""
        return self.first(field_name(name))

    def header_values(self, name: bytes) -> list[bytes]:
        """Return every value of ``name``, in order."""
        return self.every(field_name(name))

    def first(self, name: FieldName) -> bytes | None:
        """Return the first value of a prepared name; see :meth:`header`."""
        if self._list is not None:
            return first_value(self._list, name)
        if name.number == HOST and self.host_line is not None:
            return self.host_line
        lines = self.lines
        index = lines.find(name)
        while index >= 0:
            if self._stands(index):
                return lines.value_at(index)
            index = lines.find(name, index + 1)
        return first_value(self._behind(), name) if self._may_be_behind(name) else None

    def place(self, name: FieldName) -> i64:
        """Return the position of the first value of ``name`` in ``lines.raw``: its start, and its
        end in the upper 32 bits.

        ``name`` must be ``single``. The result is -1 without such a line. It is -2 if the head has
        edits, or a host that differs from its line; call :meth:`first` then.
        """
        if self._list is not None or self.added is not None:
            return -2
        if name.number == HOST and self.host_line is not None:
            return -2
        if self.before is not None or self.ours is not None:
            return -2
        if not self.present >> name.number & 1:
            return -1
        lines = self.lines
        return read_i64_le(lines.table, lines.find_number(name.number) * ROW + 8)

    def every(self, name: FieldName) -> list[bytes]:
        """Return all values of a prepared name; see :meth:`header_values`."""
        if self._list is not None:
            return every_value(self._list, name)
        found: list[bytes] = []
        if name.number == HOST and self.host_line is not None:
            found.append(self.host_line)
        else:
            lines = self.lines
            index = lines.find(name)
            while index >= 0:
                if self._stands(index):
                    found.append(lines.value_at(index))
                index = lines.find(name, index + 1)
        if self._may_be_behind(name):
            found += every_value(self._behind(), name)
        return found

    def set_header(self, name: bytes, value: bytes) -> None:
        """Replace every line of ``name`` by one."""
        self.remove_header(name)
        self.add_header(name, value)

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add one more line of ``name``."""
        if self._list is not None:
            self._list.append((name, value))
        elif self.added is None:
            self.added = [(name, value)]
        else:
            self.added.append((name, value))

    def remove_header(self, name: bytes) -> None:
        """Remove every line of ``name``, if any."""
        self.remove(field_name(name))

    def remove_headers(self, names: frozenset[bytes]) -> None:
        """Remove every line of ``names``, which are in lower case.

        Linear in the names plus the lines.
        """
        if len(names) <= _FEW:
            for name in names:
                self.remove(field_name(name))
        else:
            self._list = [pair for pair in self.pairs() if pair[0].lower() not in names]

    def remove(self, name: FieldName) -> None:
        """Remove every line of a prepared name; see :meth:`remove_header`."""
        if self._list is not None:
            self._list = less(self._list, name)
            return
        if name.number == HOST:
            self.host_line = None
        lines = self.lines
        if name.single:
            if lines.present >> name.number & 1:
                self.without |= bit(name.number)
        else:
            index = lines.find(name)
            while index >= 0:
                if index >= _MOST_GONE:
                    self._list = less(self.pairs(), name)
                    return
                self.gone |= bit(index)
                index = lines.find(name, index + 1)
        ours = self.ours
        if ours is not None and _may_have(ours, name) and every_value(ours.pairs, name):
            self.before = [*(self.before or ()), *ours.pairs]
            self.ours = None
        if self.before is not None:
            self.before = less(self.before, name)
        if self.added is not None:
            self.added = less(self.added, name)

    @property
    def present(self) -> i64:
        """Return the set of known names in ``lines`` that are not left out."""
        return self.lines.present & ~self.without

    def drop(self, numbers: i64) -> None:
        """Remove every line whose known name is in the set ``numbers``."""
        if self._list is not None:
            self._list = outside(self._list, numbers)
            return
        self.without |= self.lines.present & numbers
        if self.before is not None:
            self.before = outside(self.before, numbers)
        if self.added is not None:
            self.added = outside(self.added, numbers)

    @property
    def untouched_lines(self) -> bool:
        """True if the head is ``lines`` without the lines left out, and nothing is added or
        listed.
        """
        return (
            self._list is None
            and self.before is None
            and self.ours is None
            and self.added is None
            and self.host_line is None
        )

    def next_line(self, name: FieldName, index: i64) -> i64:
        """Return the first line of ``name`` in ``lines`` from ``index`` on that is not left out, or
        -1.
        """
        lines = self.lines
        found = lines.find(name, index)
        while found >= 0 and not self._stands(found):
            found = lines.find(name, found + 1)
        return found

    def _stands(self, index: i64) -> bool:
        """Return whether a line of ``lines`` is not left out."""
        if self.without >> self.lines.number_at(index) & 1:
            return False
        return index >= _MOST_GONE or not self.gone >> index & 1

    def _may_be_behind(self, name: FieldName) -> bool:
        """Return whether a line of ``name`` may come after ``lines``."""
        if self.before is not None or self.added is not None:
            return True
        ours = self.ours
        return ours is not None and _may_have(ours, name)

    def _behind(self) -> Headers:
        """Return the lines after ``lines``, as a new list."""
        out: Headers = []
        if self.before is not None:
            out += self.before
        if self.ours is not None:
            out += self.ours.pairs
        if self.added is not None:
            out += self.added
        return out

    # -- the wire -------------------------------------------------------------------------------

    def copy_lines(self, writer: BytesWriter, without: i64) -> None:
        """Copy the lines of ``lines`` that are not left out and whose names are not in ``without``,
        unchanged.
        """
        lines = self.lines
        raw = lines.raw
        table = lines.table
        without |= self.without
        gone: i64 = self.gone
        end: i64 = lines.count * ROW
        run: i64 = -1  # start of the run of lines to copy
        at: i64 = 0
        while at < end:
            word = read_i64_le(table, at)
            drop = without >> ((word >> 32) & 255) & 1
            if gone and at < _MOST_GONE * ROW:
                drop |= gone >> (at // ROW) & 1
            if drop:
                if run >= 0:
                    writer.write(raw[run : word & MASK])
                    run = -1
            elif run < 0:
                run = word & MASK
            at += ROW
        if run >= 0:
            writer.write(raw[run : len(raw) - 2])


def _may_have(ours: Ours, name: FieldName) -> bool:
    return not name.single or bool(ours.present >> name.number & 1)
