"""CONTROL. Changes of a file of API keys, by commands and by the admin API.

The functions block and do not use Twisted. The API calls them in a thread.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lbproxy.config import units
from lbproxy.config.lines.limits import read_rate
from lbproxy.cors.keys import KeyRecord, KeyRing, hashed
from lbproxy.cors.quota import Quota
from lbproxy.limits.rate import Rate

__all__ = ["edit_keys", "key_words", "made_record", "new_key", "quota_words", "read_keys"]

KEY_BYTES: Final = 24
"""Random bytes of a key: 192 bits."""

_NEW_FILE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW


def new_key() -> str:
    """Return a random key."""
    return secrets.token_urlsafe(KEY_BYTES)


def made_record(
    name: str,
    key: str,
    now: float,
    *,
    origins: Iterable[str] = (),
    targets: Iterable[str] = (),
    methods: Iterable[str] = (),
    referrers: Iterable[str] = (),
    requests: str = "",
    bytes: str = "",
    concurrent: int = 0,
    expires: str = "",
) -> KeyRecord:
    """Return the record of a new key.

    ``requests`` and ``bytes``: such as ``5/1h`` and ``1g/1d``. ``expires``: a duration from
    ``now``. "" means none. Raises ValueError with the reason.
    """
    until = now + float(units.parse("duration", expires, {"min": 1.0})) if expires else None
    quota = Quota(_rate(requests), _rate(bytes), concurrent)
    return KeyRecord(
        name,
        hashed(key),
        origins,
        targets,
        until,
        [method.upper() for method in methods],
        referrers,
        quota,
    )


def _rate(text: str) -> Rate | None:
    if not text:
        return None
    amount, seconds = read_rate(text)
    if seconds < 1:
        raise ValueError(f"{text!r} is a quota in less than a second")
    return Rate(amount, seconds, amount)


def key_words(record: KeyRecord, now: float) -> list[str]:
    """Return the rules of a key as words for display: ``origin=...``, ``requests=5/1h``."""
    words = [f"origin={text}" for text in record.origins]
    words += [f"target={text}" for text in record.targets]
    words += [f"method={text}" for text in record.methods]
    words += [f"referrer={text}" for text in record.referrers]
    words += quota_words(record.quota)
    if record.expires is not None:
        until = datetime.fromtimestamp(record.expires, UTC)
        state = "expired" if record.is_expired(now) else "expires"
        words.append(f"{state}={until:%Y-%m-%dT%H:%M:%SZ}")
    return words


def quota_words(quota: Quota) -> list[str]:
    """Return the limits of a quota as words for display: ``requests=5/1h``."""
    words = []
    if quota.requests is not None:
        words.append(f"requests={_rate_words(quota.requests, 'int')}")
    if quota.bytes is not None:
        words.append(f"bytes={_rate_words(quota.bytes, 'size')}")
    if quota.concurrent:
        words.append(f"concurrent={quota.concurrent}")
    return words


def _rate_words(rate: Rate, kind: str) -> str:
    return f"{units.dump(kind, int(rate.amount))}/{units.dump('duration', rate.seconds)}"


def read_keys(path: Path) -> KeyRing:
    """Return the keys of a file. Raises OSError, or ValueError with the reason."""
    return KeyRing.read(path.read_text(encoding="utf-8"))


def edit_keys(path: Path, change: Callable[[KeyRing], KeyRing]) -> None:
    """Replace the keys of a file by the result of ``change``; a missing file has no keys.

    Concurrent changes wait for each other. Raises OSError or the exception of ``change``; the file
    is unchanged then.
    """
    path = path.resolve()  # a link stays a link
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            ring = read_keys(path)
        except FileNotFoundError:
            ring = KeyRing()
        _write(path, change(ring).dump())
    finally:
        os.close(lock)


def _write(path: Path, text: str) -> None:
    """Replace the file atomically, so that readers never see a part of it.

    Its permissions and its owner stay, because a process of another user may have to read it. A new
    file belongs to the owner of its folder.
    """
    known = path.stat() if path.exists() else None
    mode = 0o640 if known is None else known.st_mode & 0o777
    owner = path.parent.stat() if known is None else known
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(aside, _NEW_FILE, 0o600), "w") as out:
            out.write(text)
            out.flush()
            _give(out.fileno(), owner)
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _give(file: int, owner: os.stat_result) -> None:
    """Change the owner of a new file to ``owner``, if this user is allowed to."""
    made = os.fstat(file)
    if (made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid):
        return
    try:
        os.fchown(file, owner.st_uid, owner.st_gid)
    except PermissionError:
        with suppress(PermissionError):
            os.fchown(file, -1, owner.st_gid)
