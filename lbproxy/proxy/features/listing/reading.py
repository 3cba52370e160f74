"""DATA. The entries of a ``[list NAME]``, read in one go; for threads, and for commands."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from urllib.request import Request, urlopen

from lbproxy.lists.text import ListText, read_list
from lbproxy.proxy.features.listing.spec import ListSpec

__all__ = ["read_source"]

_LARGEST = 256 * 1024 * 1024  # bytes of a text
_FETCH = 30.0  # seconds without a byte from a URL


def read_source(spec: ListSpec) -> ListText:
    """Return the entries of ``spec``; blocks.  OSError and ValueError."""
    own = map(str, spec.addresses)
    if spec.file:
        with Path(spec.file).open(encoding="utf-8", errors="replace") as file:
            found = read_list(chain(own, file))
    elif spec.url:
        asked = Request(spec.url, headers={"User-Agent": "lbproxy"})
        with urlopen(asked, timeout=_FETCH) as answer:
            data = answer.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError("it is larger than 256 MiB")
        found = read_list(chain(own, data.decode("utf-8", "replace").splitlines()))
    else:
        found = read_list(own)
    if found.bad:
        first = found.bad[0]
        line = first.number - len(spec.addresses)
        raise ValueError(f"line {line}: {first.text!r} is neither an address, a prefix nor a range")
    return found
