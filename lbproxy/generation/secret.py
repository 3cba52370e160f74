"""CONTROL. The secret of ``[lbproxy]``, from the configuration or from a file of its own."""

from __future__ import annotations

from pathlib import Path

from lbproxy.config.units import SECRET_LENGTH

__all__ = ["read_secret"]

_MOST = 4096  # bytes of a file that can be meant


def read_secret(text: str) -> bytes:
    """The bytes of ``secret = text``; empty if there is none.

    White space around the content of a file does not count.  Raises OSError, and ValueError for a
    file that holds too little or far too much.
    """
    path = text.removeprefix("file:")
    if path == text:
        return text.encode()
    with Path(path).open("rb") as file:
        content = file.read(_MOST + 1)
    secret = content.strip()
    if not SECRET_LENGTH <= len(secret) <= _MOST:
        raise ValueError(f"{path} must hold {SECRET_LENGTH} to {_MOST} bytes, found {len(secret)}")
    return secret
