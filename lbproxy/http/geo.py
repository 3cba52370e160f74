"""PURE. The location of a client: its country and its autonomous system."""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

from attrs import frozen

__all__ = ["UNKNOWN", "GeoLookup", "Location", "asn_number", "country_code", "location_of"]

_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")


@frozen
class Location:
    """The location of an address. ``country``: ISO 3166 code in capitals, "" if unknown. ``asn``: 0
    if unknown.
    """

    country: str = ""
    asn: int = 0


UNKNOWN: Final = Location()


class GeoLookup(Protocol):
    """The look-up in the files of ``[lbproxy] geoip`` (``Frontend.geo``)."""

    def find(self, ip: str) -> Location:
        """Return the location of an address."""


def location_of(traffic: Any) -> Location:
    """Return the location of the client of ``traffic``."""
    geo = getattr(getattr(traffic, "frontend", None), "geo", None)
    if geo is None:
        return UNKNOWN
    found: Location = geo.find(traffic.client_ip)
    return found


def country_code(text: str) -> str:
    """Return the code of ``country:CODE``. Raises ValueError."""
    if not _COUNTRY.fullmatch(text):
        raise ValueError(f"country {text[:80]!r}: write a code of two letters, such as DE")
    return text.upper()


def asn_number(text: str) -> int:
    """Return the number of ``asn:NUMBER``. Raises ValueError."""
    number = text.upper().removeprefix("AS")
    if not number.isascii() or not number.isdigit() or not 0 < int(number[:12]) < 1 << 32:
        raise ValueError(f"asn {text[:80]!r}: write a number, such as 64500")
    return int(number)
