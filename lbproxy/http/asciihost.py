"""PURE. Host names in Unicode, as people write them, in the form in which clients send them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

__all__ = ["ascii_host"]

_LABEL: Final = re.compile(r"[a-z0-9_~-]*")


def ascii_host(name: str) -> str:
    """Return a host name without port in ASCII, as browsers encode it: IDNA 2008 with the mapping
    of UTS 46, non-transitional, so that ``ß`` does not become ``ss``.

    A name in ASCII is returned unchanged and unchecked. Raises ValueError if IDNA 2008 does not
    allow the name.
    """
    if name.isascii():
        return name
    import idna  # only names in Unicode need its tables

    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        labels = [_ascii_label(label, idna.alabel) for label in mapped.split(".")]
    except UnicodeError as error:
        raise ValueError(f"{name[:80]!r} has no IDNA form: {error}") from None
    return ".".join(labels)


def _ascii_label(label: str, encode: Callable[[str], bytes]) -> str:
    if not label.isascii():
        return encode(label).decode("ascii")
    if not _LABEL.fullmatch(label):
        raise UnicodeError(f"label {label[:80]!r} has other characters than letters and digits")
    return label
