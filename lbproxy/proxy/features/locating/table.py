"""DATA. Country and autonomous system of addresses, from files in MaxMind's format.

The files are mapped into memory. The first look-up of an address takes a few microseconds, a
repeated one less than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from lbproxy.http.geo import UNKNOWN, Location

__all__ = ["GeoTable", "stamps_of"]

_MEMO: Final = 16_384  # number of addresses whose locations are kept


def stamps_of(files: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return stamps that change when one of ``files`` is replaced. Raises OSError."""
    found = [Path(file).stat() for file in files]
    return [(one.st_mtime_ns, one.st_size, one.st_ino) for one in found]


@frozen
class _Opened:
    readers: tuple[Any, ...]
    stamps: list[tuple[int, int, int]]


class GeoTable:
    """The ``files`` in use. Raises ValueError for an unreadable file, or without maxminddb."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = tuple(files)
        self._memo: dict[str, Location] = {}
        self.use(self.opened())

    def opened(self) -> _Opened:
        """Open the files again for :meth:`use`; may run in a thread. Raises ValueError."""
        try:
            import maxminddb  # from an optional package
        except ImportError:
            raise ValueError("it needs maxminddb: pip install lbproxy[geo]") from None
        readers = []
        try:
            stamps = stamps_of(self.files)
            for file in self.files:
                readers.append(maxminddb.open_database(file, maxminddb.MODE_AUTO))
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise ValueError(f"geoip: {words}") from None
        return _Opened(tuple(readers), stamps)

    def use(self, opened: _Opened) -> None:
        """Use these files for look-ups from now on."""
        self._opened = opened
        self._memo.clear()

    @property
    def changed(self) -> bool:
        """True if a file has been replaced. Raises OSError."""
        return stamps_of(self.files) != self._opened.stamps

    def find(self, ip: str) -> Location:
        """Return the location of an address, :data:`UNKNOWN` if the files do not have it."""
        found = self._memo.get(ip)
        if found is None:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            found = self._memo[ip] = self._look(ip)
        return found

    def _look(self, ip: str) -> Location:
        country, asn = "", 0
        for reader in self._opened.readers:
            try:
                record = reader.get(ip.partition("%")[0])
            except Exception:  # not an address, IPv6 in an IPv4 file, a damaged file
                continue
            if isinstance(record, dict):
                country = country or _country(record)
                asn = asn or _asn(record)
        return Location(country, asn) if country or asn else UNKNOWN


def _country(record: dict[str, Any]) -> str:
    for key in ("country", "registered_country"):
        one = record.get(key)
        code = one.get("iso_code") if isinstance(one, dict) else None
        if isinstance(code, str) and len(code) == 2 and code.isascii() and code.isalpha():
            return code.upper()
    return ""


def _asn(record: dict[str, Any]) -> int:
    number = record.get("autonomous_system_number")
    return number if isinstance(number, int) and 0 < number < 1 << 32 else 0
