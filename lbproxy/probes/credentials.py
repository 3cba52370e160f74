"""CONTROL. The credentials of a check: the password options that several probes share.

A password comes from the environment (``${NAME}``) or from a separate file. Every check reads the
file, so a new password needs no reload.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lbproxy.config.model import option
from lbproxy.probes.base import Unhealthy

__all__ = ["password_file_option", "password_option", "read_password", "verify_password"]

LONGEST = 4096
"""Maximum size of a password file, in bytes."""


def password_option(what: str = "password") -> Any:
    """Return the field for a password in the configuration; a repr never shows it."""
    made = option(
        "string",
        "",
        doc=f"{what}; preferably from the environment",
        example="${DB_PASSWORD}",
        secret=True,
    )
    made.repr = False
    return made


def password_file_option(what: str = "password") -> Any:
    """Return the field for the path of a password file."""
    return option(
        "path", "", doc=f"file with the {what}, read for each check; a final line end is removed"
    )


def verify_password(password: str, path: str, key: str = "password") -> None:
    """Raise ValueError if both options are set, or the file cannot be used."""
    if password and path:
        raise ValueError(f"{key} and {key}_file say the same thing twice; keep one")
    if path:
        try:
            _read(path)
        except OSError as error:
            raise ValueError(f"{key}_file: cannot read {path}: {error.strerror}") from None


def read_password(password: str, path: str) -> str:
    """Return the current password. Raises :class:`Unhealthy` if its file cannot be used."""
    if not path:
        return password
    try:
        return _read(path)
    except OSError as error:
        raise Unhealthy(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise Unhealthy(str(error)) from None


def _read(path: str) -> str:
    with Path(path).open("rb") as file:
        data = file.read(LONGEST + 1)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or len(data) > LONGEST or "\n" in text or "\0" in text:
        raise ValueError(f"{path} does not hold one line with a password")
    return text
