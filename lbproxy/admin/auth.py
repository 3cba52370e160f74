"""CONTROL. Authentication and authorisation of callers of the admin API. Rules:

1. A token identifies its owner and has a role. Tokens are compared in constant time, by SHA-256.
2. A client certificate signed by the listener's ``client_ca`` identifies its subject.
3. Without either, a caller that can open the Unix socket has the listener's role. So has any caller
   on this machine if there is no token file.
4. No caller has more than the listener's ``role``.
"""

from __future__ import annotations

import re
import stat
from enum import IntEnum
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from attrs import frozen

from lbproxy.config.units import parse_name

__all__ = ["Identity", "Role", "TokenError", "Tokens"]

SHORTEST = 16
"""Minimum length of a token in characters."""

_LINE = re.compile(r"(\S+)\s+(\S+)\s+(\S+)")
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")


class Role(IntEnum):
    """Permissions of a caller; a higher role includes all lower ones."""

    NONE = 0
    READ = 1
    WRITE = 2

    @property
    def word(self) -> str:
        """The role as written in the configuration."""
        return self.name.lower()


@frozen
class Identity:
    """The caller of an admin request.

    ``proven`` is true if a token, a client certificate or socket permissions identify the caller,
    and false for anonymous access.
    """

    name: str
    role: Role
    proven: bool = True

    def at_most(self, role: Role) -> Identity:
        """Return this identity with its role lowered to ``role`` if the listener allows no more."""
        return Identity(self.name, min(self.role, role), self.proven)


class TokenError(ValueError):
    """A token file cannot be used; the message begins with its path and line."""


class Tokens:
    """A token file: ``ROLE NAME TOKEN`` on each line, ``#`` begins a comment.

    ``ROLE`` is ``read`` or ``write``. ``NAME`` appears in the logs. ``TOKEN`` has at least 16
    characters, or is ``sha256:`` and the hexadecimal SHA-256 of the token, so that the file does
    not reveal the token itself.
    """

    def __init__(self, known: tuple[tuple[bytes, Identity], ...] = ()) -> None:
        self._known = known

    @classmethod
    def load(cls, path: str) -> Tokens:
        """Read the file. Raises :class:`TokenError`."""
        try:
            mode = Path(path).stat().st_mode
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        if mode & stat.S_IROTH:
            raise TokenError(f"{path}: all users of this machine can read it: chmod o-rwx {path}")
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: str = "<tokens>") -> Tokens:
        """Return the tokens in ``text``. ``path``: name in errors. Raises :class:`TokenError`."""
        known: list[tuple[bytes, Identity]] = []
        names: set[str] = set()
        for number, line in enumerate(text.splitlines(), 1):
            bare = line.split("#", 1)[0].strip()
            if not bare:
                continue
            where = f"{path}:{number}"
            digest, identity = _token(bare, where)
            if identity.name in names:
                raise TokenError(f"{where}: the name {identity.name!r} is already defined")
            names.add(identity.name)
            known.append((digest, identity))
        if not known:
            raise TokenError(f"{path}: contains no token; a line is ROLE NAME TOKEN")
        return cls(tuple(known))

    def identify(self, token: bytes) -> Identity | None:
        """Return the owner of a token. The time does not depend on the token."""
        digest = sha256(token).digest()
        found = None
        for known, identity in self._known:
            if compare_digest(known, digest):
                found = identity
        return found


def _token(line: str, where: str) -> tuple[bytes, Identity]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise TokenError(f"{where}: not ROLE NAME TOKEN")
    role, name, token = match.groups()
    if role not in ("read", "write"):
        raise TokenError(f"{where}: unknown role {role[:40]!r}; allowed: read, write")
    try:
        parse_name(name)
    except ValueError as error:
        raise TokenError(f"{where}: {error}") from None
    hashed = _HASHED.fullmatch(token)
    if hashed is None and token.startswith("sha256:"):
        raise TokenError(f"{where}: sha256: is followed by 64 hexadecimal digits")
    if hashed is None and len(token) < SHORTEST:
        raise TokenError(f"{where}: the token has less than {SHORTEST} characters")
    digest = bytes.fromhex(hashed[1]) if hashed else sha256(token.encode()).digest()
    return digest, Identity(name, Role[role.upper()])
