"""DATA. Reads all entries of a ``[list NAME]`` in one blocking call, for threads and commands."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from time import monotonic

from lbproxy.lists.text import ListText, read_list
from lbproxy.proxy.features.listing.spec import ListSpec

__all__ = ["read_source"]

_LARGEST = 256 * 1024 * 1024  # maximum size of a text, in bytes
_PATIENT = (30.0, 300.0)  # seconds without a byte from a URL, and for the whole response
_WAITED_FOR = (5.0, 30.0)  # the same limits while traffic waits
_PIECE = 1 << 18


def read_source(spec: ListSpec, *, waited_for: bool = False) -> ListText:
    """Return the entries of ``spec``. This call blocks. Raises OSError or ValueError.

    ``waited_for``: called in the thread of the traffic, so the timeouts of a URL are short.
    """
    own = map(str, spec.addresses)
    if spec.file:
        with Path(spec.file).open(encoding="utf-8-sig", errors="replace") as file:
            found = read_list(chain(own, file))
    elif spec.url:
        text = _fetch(spec.url, *(_WAITED_FOR if waited_for else _PATIENT)).decode(
            "utf-8-sig", "replace"
        )
        found = read_list(chain(own, text.splitlines()))
    else:
        found = read_list(own)
    if found.bad:
        first = found.bad[0]
        line = first.number - len(spec.addresses)
        raise ValueError(f"line {line}: {first.text!r} is neither an address, a prefix nor a range")
    return found


def _fetch(url: str, silence: float, longest: float) -> bytes:
    """Return a complete response.

    An incomplete one would be a list with fewer entries, or with a truncated prefix.
    """
    from http.client import HTTPException  # imports ssl, which only URLs need
    from urllib.request import Request, urlopen

    asked = Request(url, headers={"User-Agent": "lbproxy"})
    found = bytearray()
    until = monotonic() + longest
    try:
        with urlopen(asked, timeout=silence) as answer:
            while piece := answer.read1(_PIECE):
                found += piece
                if len(found) > _LARGEST:
                    raise ValueError("it is larger than 256 MiB")
                if monotonic() > until:
                    raise ValueError(f"it takes longer than {longest:g} seconds")
            missing = getattr(answer, "length", None)
    except HTTPException as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if missing:
        raise ValueError(f"the response ended {missing} bytes too early")
    return bytes(found)
