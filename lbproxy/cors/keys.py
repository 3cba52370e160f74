"""PURE. API keys of a CORS proxy: their file, and the rules of each key.

The file is JSON. It contains the SHA-256 of each key and never the key itself, which is random and
has at least 128 bits, so that no salt and no slow hash are needed:

.. code-block:: json

   {"keys": [{"name": "app", "sha256": "...", "origins": [], "targets": [], "expires": null}]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

from attrs import field, frozen

from lbproxy.cors.origins import checked_origin
from lbproxy.cors.patterns import TargetPattern, referrer_parts
from lbproxy.cors.quota import Quota
from lbproxy.limits.rate import Rate

__all__ = ["KeyRecord", "KeyRing", "hashed"]

KEYS_MAX: Final = 100_000
LATEST: Final = 253402300799.0  # 9999-12-31T23:59:59Z, seconds since the epoch

_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_METHOD: Final = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
_LISTS: Final = ("origins", "targets", "methods", "referrers")
_RATES: Final = ("requests", "bytes")
_FIELDS: Final = frozenset(("name", "sha256", *_LISTS, *_RATES, "concurrent", "expires"))
_AMOUNT_MAX: Final = 1 << 50
_SECONDS_MAX: Final = 366 * 86400


def hashed(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal digits."""
    return sha256(key.encode("utf-8")).hexdigest()


def _tuple(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen
class KeyRecord:
    """One key. Empty lists allow everything. ``expires``: seconds since the epoch.

    ``origins`` restricts requests with an Origin, in addition to the origins of the frontend.
    ``referrers`` are patterns like ``targets``; requests without Referer are then refused.
    """

    name: str
    sha256: str
    origins: tuple[str, ...] = field(default=(), converter=_tuple)
    targets: tuple[str, ...] = field(default=(), converter=_tuple)
    expires: float | None = None
    methods: tuple[str, ...] = field(default=(), converter=_tuple)
    referrers: tuple[str, ...] = field(default=(), converter=_tuple)
    quota: Quota = Quota()
    _patterns: tuple[TargetPattern, ...] = field(init=False, eq=False, repr=False)
    _pages: tuple[TargetPattern, ...] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is not the name of a key: 1 to 64 letters, digits, ._@-"
            )
        if not _DIGEST.fullmatch(self.sha256):
            raise ValueError(f"key {self.name}: sha256 is not 64 hexadecimal digits")
        if self.expires is not None and not 0 <= self.expires <= LATEST:  # NaN is neither
            raise ValueError(
                f"key {self.name}: expires must be a time from 1970 to 9999, in seconds"
            )
        for method in self.methods:
            if not _METHOD.fullmatch(method):
                raise ValueError(f"{method!r} is not a method; write GET or POST")
        object.__setattr__(self, "origins", tuple(map(checked_origin, self.origins)))
        object.__setattr__(self, "_patterns", tuple(map(TargetPattern.read, self.targets)))
        object.__setattr__(self, "_pages", tuple(map(TargetPattern.read, self.referrers)))

    def allows_origin(self, origin: str | None) -> bool:
        """Return whether requests with this ``Origin`` may use the key."""
        return origin is None or not self.origins or origin in self.origins

    def allows_target(self, host: str, port: int, path: str) -> bool:
        """Return whether the key may be used for a target."""
        return not self._patterns or any(one.matches(host, port, path) for one in self._patterns)

    def lists_target(self, host: str, port: int, path: str) -> bool:
        """Return whether ``targets`` names a target; a key without targets names none."""
        return any(one.matches(host, port, path) for one in self._patterns)

    def allows_method(self, method: str) -> bool:
        """Return whether the key may be used with a method."""
        return not self.methods or method in self.methods

    def allows_referrer(self, referrer: str | None) -> bool:
        """Return whether requests with this ``Referer`` may use the key."""
        if not self._pages:
            return True
        page = referrer_parts(referrer) if referrer else None
        return page is not None and any(one.matches(*page) for one in self._pages)

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
        """Return the keys of a file. Raises ValueError with the error in it."""
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
        return json.dumps({"keys": [_dumped(one) for one in self.records]}, indent=2) + "\n"

    def find(self, key: str, now: float) -> KeyRecord | None:
        """Return the record of a key that is valid at ``now``, else None."""
        found = self._by_hash.get(hashed(key)) if key else None
        return None if found is None or found.is_expired(now) else found

    def has(self, record: KeyRecord, now: float) -> bool:
        """Return whether the key of ``record`` is still valid at ``now``, possibly with other
        rules.
        """
        found = self._by_hash.get(record.sha256)
        return found is not None and not found.is_expired(now)

    def added(self, record: KeyRecord) -> KeyRing:
        """Return these keys and one more. Raises ValueError if its name is taken."""
        if any(one.name == record.name for one in self.records):
            raise ValueError(f"a key {record.name!r} already exists")
        return KeyRing((*self.records, record))

    def revoked(self, name: str) -> KeyRing:
        """Return these keys without the one of this name. Raises KeyError if it does not exist."""
        left = [one for one in self.records if one.name != name]
        if len(left) == len(self.records):
            raise KeyError(name)
        return KeyRing(left)


def _record(given: Any) -> KeyRecord:
    """Return the record for one entry of the file."""
    if not isinstance(given, dict) or not given.keys() <= _FIELDS:
        raise ValueError(f"a key must be an object with {', '.join(sorted(_FIELDS))}")
    name, digest = given.get("name"), given.get("sha256")
    if not isinstance(name, str) or not isinstance(digest, str):
        raise ValueError("a key needs name and sha256, both strings")
    lists = [_list_of(name, key, given.get(key, [])) for key in _LISTS]
    expires = given.get("expires")
    if expires is not None and not _is_number(expires):
        raise ValueError(f"key {name}: expires must be seconds since the epoch, or null")
    origins, targets, methods, referrers = lists
    requests, count = (_rate_of(name, key, given.get(key)) for key in _RATES)
    concurrent = given.get("concurrent", 0)
    if isinstance(concurrent, bool) or not isinstance(concurrent, int) or concurrent < 0:
        raise ValueError(f"key {name}: concurrent must be a whole number, 0 for no limit")
    quota = Quota(requests, count, concurrent)
    return KeyRecord(name, digest, origins, targets, expires, methods, referrers, quota)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _list_of(name: str, key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"key {name}: {key} must be a list of strings")
    return value


def _rate_of(name: str, key: str, value: Any) -> Rate | None:
    """Return the rate for a quota in the file: ``{"amount": 5, "seconds": 3600}``."""
    if value is None:
        return None
    numbers: list[Any] = []
    if isinstance(value, dict):
        numbers = [value.get("amount"), value.get("seconds")]
    if len(numbers) != 2 or len(value) != 2 or not all(map(_is_number, numbers)):
        raise ValueError(f"key {name}: {key} must be an object with amount and seconds, or null")
    amount, seconds = numbers
    if not (1 <= amount <= _AMOUNT_MAX and 1 <= seconds <= _SECONDS_MAX):
        raise ValueError(f"key {name}: {key} must be at least 1 in 1 second, and at most in a year")
    return Rate(float(amount), float(seconds), float(amount))


def _dumped(one: KeyRecord) -> dict[str, Any]:
    """Return the entry of the file. Rules that the key does not have are omitted."""
    found: dict[str, Any] = {
        "name": one.name,
        "sha256": one.sha256,
        "origins": list(one.origins),
        "targets": list(one.targets),
        "expires": one.expires,
    }
    found.update({key: list(value) for key in _LISTS[2:] if (value := getattr(one, key))})
    for key in _RATES:
        rate: Rate | None = getattr(one.quota, key)
        if rate is not None:
            found[key] = {"amount": rate.amount, "seconds": rate.seconds}
    if one.quota.concurrent:
        found["concurrent"] = one.quota.concurrent
    return found
