"""PURE. ``[shared]``: checks that Redis can be used."""

from __future__ import annotations

from importlib.util import find_spec

from lbproxy.config.draft import Draft
from lbproxy.config.section import Judge, Section
from lbproxy.model import SharedSpec, read_redis_url

__all__ = ["SHARED"]


def _check(draft: Draft, judge: Judge) -> None:
    for key in ("password_file", "ca"):
        judge.file(draft, key, draft.line(key), draft.get(key, ""))
    if "redis" in draft.broken:
        return
    url: str = draft.get("redis", "")
    where = draft.line("redis")
    if not url:
        judge.wrong(draft, draft.where, "", "'redis' is missing: redis://HOST:PORT/DATABASE")
        return
    try:
        place = read_redis_url(url)
    except ValueError as error:
        judge.wrong(draft, where, "redis", str(error))
        return
    if find_spec("txredisapi") is None:
        judge.wrong(
            draft,
            where,
            "redis",
            "the package txredisapi is not installed: pip install lbproxy[redis]",
        )
    if draft.get("ca", "") and not place.tls:
        judge.wrong(draft, draft.line("ca"), "ca", "has an effect only with rediss://")
    if place.username and not (place.password or draft.get("password_file", "")):
        message = "a user without a password does not log in: USER:PASSWORD@ or 'password_file'"
        judge.wrong(draft, where, "redis", message)
    if draft.get("password_file", "") and place.password:
        message = "'redis' contains a password already"
        judge.wrong(draft, draft.line("password_file"), "password_file", message)


SHARED = Section(
    "shared",
    SharedSpec,
    doc="The Redis server through which several nodes share limits, bans, counts and lists.",
    field="shared",
    single=True,
    check=_check,
)
