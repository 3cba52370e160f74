"""PURE. Lines of ``[limit NAME]`` (``rate``, ``action``, ``prefix``), ``limits``, ``tracks``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from lbproxy.config import units
from lbproxy.config.conditions import dump_conditions, find_if, read_conditions
from lbproxy.config.errors import Unfit
from lbproxy.config.line import Line, Scope
from lbproxy.config.options import Spot
from lbproxy.config.words import Word, comma_items, quote
from lbproxy.limits.rate import Rate
from lbproxy.limits.rules import Action, LimitUse

__all__ = ["LIMIT_ACTION", "LIMIT_PREFIX", "LIMIT_RATE", "LIMIT_USE", "TRACK_USE", "read_rate"]

_FORM = "write 100/10s, 5/m or 4k/s, optionally followed by burst=50"
_RATE = re.compile(r"([^/]+)/(.+)")
_MOST = 1 << 50


def read_rate(text: str) -> tuple[float, float]:
    """Return amount and seconds of ``100/10s``, ``5/m`` or ``4k/s``. Raises :class:`Unfit`."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise Unfit(f"{text[:80]!r} is not a rate: {_FORM}")
    amount = units.parse("size", found[1], {"min": 1, "max": _MOST})
    span = found[2] if found[2][:1].isdigit() else "1" + found[2]
    seconds = units.parse("duration", span, {"min": 0.001, "max": 366 * 86400.0})
    return float(amount), float(seconds)


def _read_rate(words: Sequence[Word], spot: Spot, scope: Scope) -> Rate | None:
    try:
        amount, seconds = read_rate(words[0].text if words else "")
        burst = amount
        for word in words[1:]:
            name, _, value = word.text.partition("=")
            if name != "burst":
                known = ("burst=",)
                spot.wrong(f"unknown word {word.text[:80]!r}", found=word.text, known=known)
                return None
            burst = float(units.parse("size", value, {"min": 1, "max": _MOST}))
    except Unfit as error:
        spot.caught(error)
        return None
    return Rate(amount, seconds, burst)


def _dump_rate(rate: Rate) -> str:
    text = f"{int(rate.amount)}/{units.dump('duration', rate.seconds)}"
    return text if rate.burst == rate.amount else f"{text} burst={int(rate.burst)}"


def _read_action(words: Sequence[Word], spot: Spot, scope: Scope) -> Action | None:
    texts = [word.text for word in words]
    try:
        match texts:
            case ["reject"] | ["log"]:
                return Action("reject" if texts[0] == "reject" else "log")
            case ["delay"]:
                return Action("delay")
            case ["delay", queue] if queue.startswith("queue="):
                facts = {"min": 1, "max": 100_000}
                return Action("delay", queue=units.parse("int", queue[6:], facts))
            case ["tarpit", seconds]:
                bounds = {"min": 0.001, "max": 600}
                return Action("tarpit", seconds=units.parse("duration", seconds, bounds))
            case ["ban", name]:
                return _ban(name, spot, scope)
    except Unfit as error:
        spot.caught(error)
        return None
    known = ("reject", "delay", "tarpit", "log", "ban")
    actions = "reject, delay [queue=N], tarpit T, log or ban NAME"
    message = f"{' '.join(texts)[:80]!r} is not an action: {actions}"
    spot.wrong(message, found=texts[0] if texts else "", known=known)
    return None


def _ban(name: str, spot: Spot, scope: Scope) -> Action | None:
    known = scope.names("ban")
    if name not in known:
        spot.wrong(f"there is no ban {name!r}", found=name, known=sorted(known))
        return None
    return Action("ban", ban=name)


def _dump_action(action: Action) -> str:
    if action.kind == "delay":
        return f"delay queue={action.queue}"
    if action.kind == "tarpit":
        return f"tarpit {units.dump('duration', action.seconds)}"
    return f"ban {quote(action.ban)}" if action.kind == "ban" else action.kind


def _read_prefix(words: Sequence[Word], spot: Spot, scope: Scope) -> tuple[int, int] | None:
    try:
        numbers = [
            units.parse("int", word.text, {"min": 1, "max": most})
            for word, most in zip(words, (32, 128), strict=True)
        ]
    except Unfit as error:
        spot.caught(error)
        return None
    except ValueError:
        spot.wrong("write two lengths, for IPv4 and for IPv6 prefixes, such as 32 64")
        return None
    return numbers[0], numbers[1]


def _read_use(kind: str, words: Sequence[Word], spot: Spot, scope: Scope) -> LimitUse | None:
    at = find_if(words)
    names = [item for word in words[:at] for item in comma_items(word.text)]
    if len(names) != 1:
        spot.wrong(f"write one {kind} per line: NAME, or NAME if CONDITIONS")
        return None
    known = sorted(scope.names(kind))
    if names[0] not in known:
        spot.wrong(f"there is no {kind} {names[0]!r}", found=names[0], known=known)
        return None
    conditions = read_conditions(words[at + 1 :], spot, scope) if at < len(words) else ()
    return None if spot.failed else LimitUse(names[0], conditions)


def _dump_use(use: LimitUse) -> str:
    words = [quote(use.name)]
    return " ".join([*words, "if", *dump_conditions(use.conditions)] if use.conditions else words)


LIMIT_RATE = Line(
    "limit_rate", _read_rate, _dump_rate, words="``COUNT/TIME``, and optionally ``burst=COUNT``"
)
LIMIT_ACTION = Line(
    "limit_action",
    _read_action,
    _dump_action,
    words="``reject``, ``delay [queue=N]``, ``tarpit TIME``, ``log`` or ``ban NAME``",
    default=_dump_action,
)
LIMIT_PREFIX = Line(
    "limit_prefix",
    _read_prefix,
    lambda value: f"{value[0]} {value[1]}",
    words="lengths of IPv4 and IPv6 prefixes",
    default=lambda value: f"{value[0]} {value[1]}",
)


def _use_line(kind: str) -> Line:
    return Line(
        f"{kind}_use",
        partial(_read_use, kind),
        _dump_use,
        words=f"``NAME`` of a {kind}, one per line, optionally followed by ``if`` and conditions as"
        " in a `route line`",
    )


LIMIT_USE = _use_line("limit")
TRACK_USE = _use_line("track")
