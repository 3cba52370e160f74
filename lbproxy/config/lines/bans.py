"""PURE. Lines of ``[ban NAME]``: ``after``, ``on``, ``time`` and ``action``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lbproxy.config import units
from lbproxy.config.errors import Unfit
from lbproxy.config.line import Line, Scope
from lbproxy.config.lines.limits import read_rate
from lbproxy.config.options import Spot
from lbproxy.config.words import Word, comma_items, quote
from lbproxy.limits.rate import Rate
from lbproxy.limits.rules import BanAction

__all__ = ["BAN_ACTION", "BAN_AFTER", "BAN_ON", "BAN_TIME", "OFFENCES"]

OFFENCES: Final = ("4xx", "errors", "glitches", "handshakes")
"""Offences that a ban counts, besides ``track:NAME``."""

_LONGEST: Final = 366 * 86400.0
_TARPIT: Final = 10.0


def _read_after(words: Sequence[Word], spot: Spot, scope: Scope) -> Rate | None:
    if len(words) != 1:
        spot.wrong("write COUNT/TIME, such as 30/1m")
        return None
    try:
        amount, seconds = read_rate(words[0].text)
    except Unfit as error:
        spot.caught(error)
        return None
    return Rate(amount, seconds, amount)


def _dump_after(rate: Rate) -> str:
    return f"{int(rate.amount)}/{units.dump('duration', rate.seconds)}"


def _read_on(words: Sequence[Word], spot: Spot, scope: Scope) -> tuple[str, ...] | None:
    found = [item for word in words for item in comma_items(word.text)]
    tracks = scope.names("track")
    for one in found:
        name = one.removeprefix("track:")
        if name != one:
            if name not in tracks:
                spot.wrong(f"there is no track {name!r}", found=name, known=sorted(tracks))
        elif one not in OFFENCES:
            message = f"{one[:80]!r} cannot be counted: {', '.join(OFFENCES)} or track:NAME"
            spot.wrong(message, found=one, known=OFFENCES)
    return None if spot.failed else tuple(dict.fromkeys(found))


def _read_time(words: Sequence[Word], spot: Spot, scope: Scope) -> tuple[float, float] | None:
    first, dots, last = words[0].text.partition("..") if len(words) == 1 else ("", "", "")
    if not first or (dots and not last):
        spot.wrong("write SHORTEST..LONGEST, such as 1m..24h, or one time")
        return None
    facts = {"min": 1, "max": _LONGEST}
    try:
        shortest = units.parse("duration", first, facts)
        longest = units.parse("duration", last, facts) if dots else shortest
    except Unfit as error:
        spot.caught(error)
        return None
    if longest < shortest:
        spot.wrong(f"{first}..{last}: the first time is longer than the last")
        return None
    return float(shortest), float(longest)


def _dump_time(value: tuple[float, float]) -> str:
    shortest, longest = (units.dump("duration", one) for one in value)
    return shortest if value[0] == value[1] else f"{shortest}..{longest}"


def _read_action(words: Sequence[Word], spot: Spot, scope: Scope) -> BanAction | None:
    texts = [word.text for word in words]
    try:
        match texts:
            case ["close"]:
                return BanAction("close")
            case ["reject"]:
                return BanAction("reject")
            case ["drop"]:
                return BanAction("drop")
            case ["tarpit"]:
                return BanAction("tarpit", _TARPIT)
            case ["tarpit", seconds]:
                bounds = {"min": 0.001, "max": 600}
                return BanAction("tarpit", units.parse("duration", seconds, bounds))
    except Unfit as error:
        spot.caught(error)
        return None
    known = ("close", "reject", "tarpit", "drop")
    message = f"{' '.join(texts)[:80]!r} is not an action: close, reject, tarpit [T] or drop"
    spot.wrong(message, found=texts[0] if texts else "", known=known)
    return None


def _dump_action(action: BanAction) -> str:
    if action.kind == "tarpit":
        return f"tarpit {units.dump('duration', action.seconds)}"
    return action.kind


BAN_AFTER = Line("ban_after", _read_after, _dump_after, words="``COUNT/TIME``")
BAN_ON = Line(
    "ban_on",
    _read_on,
    lambda names: " ".join(quote(name) for name in names),
    words="words: ``4xx``, ``errors``, ``glitches``, ``handshakes``, ``track:NAME``",
    default=" ".join,
)
BAN_TIME = Line(
    "ban_time",
    _read_time,
    _dump_time,
    words="``SHORTEST..LONGEST``, or one time",
    default=_dump_time,
)
BAN_ACTION = Line(
    "ban_action",
    _read_action,
    _dump_action,
    words="``close``, ``reject``, ``tarpit [TIME]`` or ``drop``",
    default=_dump_action,
)
