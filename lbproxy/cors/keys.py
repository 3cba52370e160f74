"""PURE. API keys of a CORS proxy: the file they are in, and what each may do.

The file is JSON.  It holds the SHA-256 of each key and never the key, which is random and has at
least 128 bits, so that no salt and no slow hash are needed:

.. code-block:: json

   {"keys": [{"name": "app", "sha256": "...", "origins": [], "targets": [], "expires": null}]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

from attrs import asdict, field, frozen

from lbproxy.cors.origins import checked_origin

__all__ = ["KeyRecord", "KeyRing", "TargetPattern", "hashed"]

KEYS_MAX: Final = 100_000
LATEST: Final = 253402300799.0  # 9999-12-31T23:59:59Z, seconds since the epoch

_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TARGET: Final = re.compile(
    r"(?P<host>(?:\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?"
)
_HIDDEN: Final = re.compile(r"(?i)%(?:25)*(?:2f|5c|2e)|/\.\.?;")
_FIELDS: Final = frozenset(("name", "sha256", "origins", "targets", "expires"))


def hashed(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal digits."""
    return sha256(key.encode("utf-8")).hexdigest()


@frozen
class TargetPattern:
    """``HOST[:PORT][/PATH]``: ``*.`` before the host stands for all names below it, ``*`` at the
    end of the path for anything that follows.  Without port or path, any is allowed.
    """

    host: str
    port: int
    path: str

    @classmethod
    def read(cls, text: str) -> TargetPattern:
        """Return the pattern that ``text`` is; ValueError if it is none."""
        found = _TARGET.fullmatch(text.lower() if "/" not in text else _low_host(text))
        if found is None or "*" in (found["path"] or "").removesuffix("*"):
            raise ValueError(f"{text!r} is no target; write HOST, HOST:PORT or HOST/PATH*")
        host = found["host"].removeprefix("[").removesuffix("]")
        return cls(host, int(found["port"] or 0), found["path"] or "")

    def matches(self, host: str, port: int, path: str) -> bool:
        """Return whether the target is one of these; ``path`` includes the query.

        A path with an encoded slash or dot, also encoded twice, or with the parameters of a dot
        segment (``/..;/``) matches no path of a pattern, as servers differ in what they make of it.
        """
        below = self.host.startswith("*.") and host.endswith(self.host[1:])
        if not (below or host == self.host) or (self.port and port != self.port):
            return False
        if not self.path:
            return True
        bare = path.partition("?")[0]
        if _HIDDEN.search(bare):
            return False
        if self.path.endswith("*"):
            return bare.startswith(self.path[:-1])
        return bare == self.path


def _low_host(text: str) -> str:
    host, slash, path = text.partition("/")
    return host.lower() + slash + path


def _tuple(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen
class KeyRecord:
    """One key.  ``origins`` and ``targets``: empty for all; ``expires``: seconds since the epoch.

    ``origins`` restricts requests with an Origin, in addition to the origins of the frontend.
    """

    name: str
    sha256: str
    origins: tuple[str, ...] = field(default=(), converter=_tuple)
    targets: tuple[str, ...] = field(default=(), converter=_tuple)
    expires: float | None = None
    _patterns: tuple[TargetPattern, ...] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a key: 1 to 64 letters, digits, ._@-")
        if not _DIGEST.fullmatch(self.sha256):
            raise ValueError(f"key {self.name}: sha256 is not 64 hexadecimal digits")
        if self.expires is not None and not 0 <= self.expires <= LATEST:  # NaN is neither
            raise ValueError(f"key {self.name}: expires is no time from 1970 to 9999, in seconds")
        object.__setattr__(self, "origins", tuple(map(checked_origin, self.origins)))
        patterns = tuple(map(TargetPattern.read, self.targets))
        object.__setattr__(self, "_patterns", patterns)

    def allows_origin(self, origin: str | None) -> bool:
        """Return whether requests with this ``Origin`` may use the key."""
        return origin is None or not self.origins or origin in self.origins

    def allows_target(self, host: str, port: int, path: str) -> bool:
        """Return whether the key may be used for a target."""
        return not self._patterns or any(one.matches(host, port, path) for one in self._patterns)

    def is_expired(self, now: float) -> bool:
        """Return whether the key is no longer valid at ``now``, seconds since the epoch."""
        return self.expires is not None and now >= self.expires


class KeyRing:
    """All keys of a file."""

    def __init__(self, records: Iterable[KeyRecord] = ()) -> None:
        self.records = tuple(records)
        self._by_hash = {one.sha256: one for one in self.records}
        names = {one.name for one in self.records}
        if len(names) != len(self.records) or len(self._by_hash) != len(self.records):
            raise ValueError("two keys have the same name or the same sha256")

    @classmethod
    def read(cls, text: str) -> KeyRing:
        """Return the keys of a file; ValueError says what is wrong with it."""
        try:
            found = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list) or len(keys) > KEYS_MAX:
            raise ValueError('not an object with a list "keys"')
        return cls(_record(one) for one in keys)

    def dump(self) -> str:
        """Return the text of the file."""
        keys = [
            {name: value for name, value in asdict(one).items() if name in _FIELDS}
            for one in self.records
        ]
        return json.dumps({"keys": keys}, indent=2) + "\n"

    def find(self, key: str, now: float) -> KeyRecord | None:
        """Return the record of a key that is valid at ``now``, else None."""
        found = self._by_hash.get(hashed(key)) if key else None
        return None if found is None or found.is_expired(now) else found

    def added(self, record: KeyRecord) -> KeyRing:
        """Return these keys and one more; ValueError if its name is taken."""
        if any(one.name == record.name for one in self.records):
            raise ValueError(f"there is a key {record.name!r} already")
        return KeyRing((*self.records, record))

    def revoked(self, name: str) -> KeyRing:
        """Return these keys without the one of this name; KeyError if there is none."""
        left = [one for one in self.records if one.name != name]
        if len(left) == len(self.records):
            raise KeyError(name)
        return KeyRing(left)


def _record(given: Any) -> KeyRecord:
    """One entry of the file."""
    if not isinstance(given, dict) or not given.keys() <= _FIELDS:
        raise ValueError(f"a key is an object with {', '.join(sorted(_FIELDS))}")
    name, digest = given.get("name"), given.get("sha256")
    if not isinstance(name, str) or not isinstance(digest, str):
        raise ValueError("a key needs name and sha256, both strings")
    lists = []
    for key in ("origins", "targets"):
        value = given.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"key {name}: {key} is a list of strings")
        lists.append(value)
    expires = given.get("expires")
    if expires is not None and (isinstance(expires, bool) or not isinstance(expires, (int, float))):
        raise ValueError(f"key {name}: expires is seconds since the epoch, or null")
    return KeyRecord(name, digest, lists[0], lists[1], expires)
