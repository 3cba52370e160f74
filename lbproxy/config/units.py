"""PURE. Parsers of single values, and their conversion back to text.

Other modules of this package call :func:`parse` and :func:`dump`; the table :data:`KINDS` has all
kinds. Every parser gets the text without surrounding quotes, and raises
:class:`lbproxy.config.errors.Unfit` with what was found and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from attrs import frozen

from lbproxy.config.addresses import (
    parse_address,
    parse_name,
    parse_network,
    parse_path,
    parse_target,
)
from lbproxy.config.errors import Unfit, shorten
from lbproxy.config.words import comma_items, join
from lbproxy.http.circumstances import clock_span
from lbproxy.model import Address, ListName, Network, Target

__all__ = [
    "KINDS",
    "UnitKind",
    "describe",
    "describe_default",
    "dump",
    "parse",
    "parse_name",
    "parse_span",
]

Facts = Mapping[str, Any]

DURATIONS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
RATE_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
YES, NO = ("yes", "on", "true"), ("no", "off", "false")

_INT = re.compile(r"[+-]?[0-9]{1,20}")
_FLOAT = re.compile(r"[+-]?([0-9]{1,20}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")
_OCTAL = re.compile(r"(0o)?([0-7]{1,6})")
_SPAN = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,400})?|\.[0-9]{1,400})(ms|s|m|h|d|w)")
_SIZE = re.compile(r"([0-9]{1,18})([bkmgt]?)", re.IGNORECASE)
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
_RATE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,40})?)/([smhd])")


def _shown(text: str) -> str:
    return repr(shorten(text, 80))


# -- numbers ---------------------------------------------------------------------------------------


def _bounded(value: Any, facts: Facts, show: Callable[[Any], str]) -> Any:
    low, high = facts.get("min"), facts.get("max")
    if (low is not None and value < low) or (high is not None and value > high):
        if low is not None and high is not None:
            limits = f"between {show(low)} and {show(high)}"
        else:
            limits = f"at least {show(low)}" if low is not None else f"at most {show(high)}"
        raise Unfit(f"{show(value)} is out of bounds; it must be {limits}")
    return value


def _int(text: str, facts: Facts, base_dir: str) -> int:
    if not _INT.fullmatch(text):
        raise Unfit(f"{_shown(text)} is not a whole number")
    value: int = _bounded(int(text), facts, str)
    return value


def _float(text: str, facts: Facts, base_dir: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise Unfit(f"{_shown(text)} is not a number such as 3 or 0.5")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Unfit(f"{_shown(text)} is too large")
    bounded: float = _bounded(value, facts, repr)
    return bounded


def _octal(text: str, facts: Facts, base_dir: str) -> int:
    found = _OCTAL.fullmatch(text)
    if not found or int(found[2], 8) > 0o7777:
        raise Unfit(f"{_shown(text)} is not an octal file mode such as 660")
    return int(found[2], 8)


def _bool(text: str, facts: Facts, base_dir: str) -> bool:
    word = text.lower()
    if word in YES:
        return True
    if word in NO:
        return False
    raise Unfit(f"{_shown(text)} is neither yes nor no", found=text, known=YES + NO)


def _duration(text: str, facts: Facts, base_dir: str) -> float:
    total, at = Decimal(0), 0
    for part in _SPAN.finditer(text):
        if part.start() != at:
            break
        total, at = total + Decimal(part[1]) * DURATIONS[part[2]], part.end()
    if text == "0":
        at = 1
    if not text or at != len(text):
        unit = ", it needs a unit" if _FLOAT.fullmatch(text) else ""
        raise Unfit(
            f"{_shown(text)} is not a duration{unit}: write 500ms, 30s, 2m, 1h, 1d or 1m30s"
        )
    value: float = _bounded(float(total), facts, _dump_duration)
    return value


def _dump_duration(value: float) -> str:
    exact = Decimal(repr(float(value)))
    for unit in ("w", "d", "h", "m"):
        if exact and exact % DURATIONS[unit] == 0:
            return f"{int(exact / DURATIONS[unit])}{unit}"
    if 0 < exact < 1 and exact * 1000 == int(exact * 1000):
        return f"{int(exact * 1000)}ms"
    return (f"{int(exact)}" if exact == int(exact) else format(exact, "f")) + "s"


def _size(text: str, facts: Facts, base_dir: str) -> int:
    found = _SIZE.fullmatch(text)
    if not found:
        raise Unfit(f"{_shown(text)} is not a size: write bytes, or a number with k, m or g")
    value: int = _bounded(int(found[1]) * SIZES[found[2].lower()], facts, _dump_size)
    return value


def _dump_size(value: int) -> str:
    for unit in ("t", "g", "m", "k"):
        if value and value % SIZES[unit] == 0:
            return f"{value // SIZES[unit]}{unit}"
    return str(value)


def parse_span(text: str) -> tuple[int, int]:
    """``22:00-06:00`` as minutes after midnight.  Raises :class:`Unfit`."""
    found = clock_span(text)
    if found is not None:
        return found
    raise Unfit(f"{_shown(text)} is not a time of the day: write 22:00-06:00")


def _span(text: str, facts: Facts, base_dir: str) -> str:
    parse_span(text)
    return text


def _size_or_none(text: str, facts: Facts, base_dir: str) -> int | None:
    return None if text == "none" else _size(text, facts, base_dir)


def _workers(text: str, facts: Facts, base_dir: str) -> int:
    return 0 if text == "cpu" else _int(text, facts, base_dir)


def _rate(text: str, facts: Facts, base_dir: str) -> float:
    found = _RATE.fullmatch(text)
    if not found:
        raise Unfit(f"{_shown(text)} is not a rate: write 10/s, 100/m, 1000/h or 5000/d")
    value: float = _bounded(float(found[1]) / RATE_PERIODS[found[2]], facts, _dump_rate)
    return value


def _byte_rate(text: str, facts: Facts, base_dir: str) -> float:
    size, slash, span = text.partition("/")
    if text == "0":
        return 0.0
    if not slash or not _SIZE.fullmatch(size):
        raise Unfit(f"{_shown(text)} is not a rate of bytes: write 500/s, 4k/s or 1m/10s")
    seconds = _duration(span if span[:1].isdigit() else "1" + span, {}, base_dir)
    if not seconds:
        raise Unfit(f"{_shown(text)} is not a rate of bytes: the time is 0")
    value: float = _bounded(_size(size, {}, base_dir) / seconds, facts, _dump_byte_rate)
    return value


def _dump_byte_rate(value: float) -> str:
    """A whole number of bytes and of the seconds in which they pass."""
    if not value:
        return "0"
    exact = Fraction(value).limit_denominator(100_000)
    span = "s" if exact.denominator == 1 else f"{exact.denominator}s"
    return f"{_dump_size(exact.numerator)}/{span}"


def _dump_rate(value: float) -> str:
    return format(Decimal(repr(float(value))), "f") + "/s"


_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,400})?)%")
_TIMES = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,400})?)x")


def _percent(text: str, facts: Facts, base_dir: str) -> float:
    found = _PERCENT.fullmatch(text)
    if not found and text != "0":
        raise Unfit(f"{_shown(text)} is not a share: write 20% or 0.5%")
    value: float = _bounded(float(Decimal(found[1]) / 100) if found else 0.0, facts, _dump_percent)
    return value


def _dump_percent(value: float) -> str:
    return format((Decimal(repr(float(value))) * 100).normalize(), "f") + "%"


def _times(text: str, facts: Facts, base_dir: str) -> float:
    found = _TIMES.fullmatch(text)
    if not found and text != "0":
        raise Unfit(f"{_shown(text)} is not a multiple: write 3x or 1.5x")
    value: float = _bounded(float(found[1]) if found else 0.0, facts, _dump_times)
    return value


def _dump_times(value: float) -> str:
    return format(Decimal(repr(float(value))).normalize(), "f") + "x"


# -- words -----------------------------------------------------------------------------------------


def _string(text: str, facts: Facts, base_dir: str) -> str:
    if "\0" in text:
        raise Unfit(f"{_shown(text)} holds a NUL character")
    return text


def _choice(text: str, facts: Facts, base_dir: str) -> str:
    choices: tuple[str, ...] = tuple(facts.get("choices", ()))
    if text not in choices:
        raise Unfit(f"{_shown(text)} is not a choice", found=text, known=choices)
    return text


CAUSES = ("connect", "reset", "timeout", "junk")
"""Causes of a failed attempt, in one word each; see :mod:`lbproxy.http.retry`."""


def _retry(text: str, facts: Facts, base_dir: str) -> str:
    known = (*CAUSES, "5xx")
    if text in known:
        return text
    if not text.isdigit():
        raise Unfit(f"{_shown(text)} is neither a cause nor a status", found=text, known=known)
    if not (len(text) == 3 and 400 <= int(text) <= 599):
        raise Unfit(f"{_shown(text)} is not a status that can be retried; it must be 400 to 599")
    return text


def _name(text: str, facts: Facts, base_dir: str) -> str:
    return parse_name(text)


def _method(text: str, facts: Facts, base_dir: str) -> str:
    if not _METHOD.fullmatch(text):
        raise Unfit(f"{_shown(text)} is not a request method", found=text)
    if text.upper() in _METHODS and not text.isupper():
        raise Unfit(f"{_shown(text)}: this method is written in capitals, {text.upper()}")
    return text


def _program(text: str, facts: Facts, base_dir: str) -> str:
    """A path as any other if it has a slash; else a name to be looked for in PATH."""
    return _path(text, facts, base_dir) if "/" in text else _string(text, facts, base_dir)


def _path(text: str, facts: Facts, base_dir: str) -> str:
    return parse_path(text, base_dir)


def _pattern(text: str, facts: Facts, base_dir: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unfit(f"{_shown(text)} is not a regular expression: {error}") from None
    return text


SECRET_LENGTH = 16
"""The fewest characters of a secret."""


def _secret(text: str, facts: Facts, base_dir: str) -> str:
    if text.startswith("file:"):
        path = _path(text[5:], facts, base_dir)
        if not path:
            raise Unfit("'file:' needs a path")
        return f"file:{path}"
    if len(text) < SECRET_LENGTH:
        raise Unfit(f"a secret has at least {SECRET_LENGTH} characters; this one has {len(text)}")
    return _string(text, facts, base_dir)


# -- addresses -------------------------------------------------------------------------------------


def _address(text: str, facts: Facts, base_dir: str) -> Address:
    return parse_address(text, base_dir)


def _target(text: str, facts: Facts, base_dir: str) -> Target:
    return parse_target(text, base_dir)


def _network(text: str, facts: Facts, base_dir: str) -> Network:
    return parse_network(text)


def _client(text: str, facts: Facts, base_dir: str) -> Network | ListName:
    if text.startswith("list:"):
        return ListName(parse_name(text[5:]))
    return parse_network(text)


# -- the table -------------------------------------------------------------------------------------


@frozen
class UnitKind:
    """``parse(text, facts, base_dir)`` and ``dump(value)`` are inverse.

    For the reference: ``words`` describe the kind, ``unset`` stands for an empty default. ``none``
    is the word that is read as None, "" if there is no such word.
    """

    words: str
    parse: Callable[[str, Facts, str], Any]
    dump: Callable[[Any], str] = str
    unset: str = "none"
    none: str = ""


KINDS: dict[str, UnitKind] = {
    "int": UnitKind("whole number", _int),
    "float": UnitKind("number", _float, lambda value: repr(float(value))),
    "octal": UnitKind("octal file mode, such as 660", _octal, lambda value: f"{value:o}"),
    "bool": UnitKind("yes or no", _bool, lambda value: "yes" if value else "no"),
    "flag": UnitKind(
        "flag: the word alone turns it on", _bool, lambda value: "on" if value else "off"
    ),
    "duration": UnitKind("duration, such as 500ms, 30s or 1h", _duration, _dump_duration),
    "size": UnitKind("size in bytes, such as 64k or 10m", _size, _dump_size),
    "size_or_none": UnitKind(
        "size in bytes, such as 64k or 10m, or none",
        _size_or_none,
        _dump_size,
        none="none",
    ),
    "span": UnitKind("time of the day, such as 22:00-06:00", _span),
    "workers": UnitKind(
        "whole number, or cpu", _workers, lambda value: str(value) if value else "cpu"
    ),
    "rate": UnitKind("rate, such as 10/s or 100/m", _rate, _dump_rate),
    "byte_rate": UnitKind("rate of bytes, such as 500/s or 4k/s", _byte_rate, _dump_byte_rate),
    "percent": UnitKind("share, such as 20% or 0.5%", _percent, _dump_percent),
    "times": UnitKind("multiple, such as 3x or 1.5x", _times, _dump_times),
    "retry": UnitKind("``connect``, ``reset``, ``timeout``, ``junk``, ``5xx`` or a status", _retry),
    "string": UnitKind("text", _string, unset="empty"),
    "choice": UnitKind("choice", _choice),
    "name": UnitKind("name", _name),
    "method": UnitKind("request method, such as GET", _method),
    "path": UnitKind("path, relative to the configuration file's directory", _path, unset="empty"),
    "program": UnitKind("path of a program, or its name in PATH", _program),
    "pattern": UnitKind("regular expression", _pattern),
    "regex": UnitKind("regular expression", _pattern),
    "secret": UnitKind(
        f"text of at least {SECRET_LENGTH} characters, or file:PATH", _secret, unset="empty"
    ),
    "address": UnitKind("address: host:port, [v6]:port or unix:/path", _address),
    "endpoint": UnitKind("endpoint, such as tcp:8080, tls:8443 or unix:/path", _string),
    "target": UnitKind("address: host:port, [v6]:port or unix:/path", _target),
    "network": UnitKind("network, such as 10.0.0.0/8, or one address", _network),
    "client": UnitKind("network, such as 10.0.0.0/8, one address, or list:NAME", _client),
    "backend": UnitKind("name of a backend", _name),
}


def _kind(kind: str) -> UnitKind:
    found = KINDS.get(kind.removeprefix("list:"))
    if found is None:
        raise Unfit(
            f"the option is declared with an unknown kind {kind!r}", found=kind, known=tuple(KINDS)
        )
    return found


def parse(kind: str, text: str, facts: Facts, base_dir: str = "") -> Any:
    """``text`` as a value of ``kind``; ``list:KIND`` gives a tuple.

    ``facts`` are a field's metadata (see :func:`lbproxy.model.option`).  Relative paths are taken
    from ``base_dir``.  Raises :class:`Unfit`.
    """
    one = _kind(kind)
    if kind.startswith("list:"):
        return tuple(one.parse(item, facts, base_dir) for item in comma_items(text))
    return one.parse(text, facts, base_dir)


def dump(kind: str, value: Any) -> str:
    """The text that :func:`parse` makes ``value`` of."""
    one = _kind(kind)
    if value is None:
        return one.none
    if kind.startswith("list:"):
        return join((one.dump(item) for item in value), ",")
    return one.dump(value)


def describe(kind: str, facts: Facts) -> str:
    """The kind in words, bounds and choices included, for the reference."""
    one = _kind(kind)
    words = one.words
    if kind.removeprefix("list:") == "choice":
        words = "one of " + ", ".join(f"``{choice}``" for choice in facts.get("choices", ()))
    if kind.startswith("list:"):
        words = f"list of: {words}"
    low, high = facts.get("min"), facts.get("max")
    if low is not None and high is not None:
        words += f"; {one.dump(low)} to {one.dump(high)}"
    elif low is not None or high is not None:
        words += f"; at least {one.dump(low)}" if high is None else f"; at most {one.dump(high)}"
    return words


def describe_default(kind: str, value: Any) -> str:
    """The default ``value`` in words, for the reference."""
    if kind.startswith("list:"):
        return dump(kind, value) if value else "empty"
    one = _kind(kind)
    return one.unset if value in ("", None, ()) else one.dump(value)
