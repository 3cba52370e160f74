"""PURE. Parsers of numbers, durations, sizes, rates and shares, and their conversion back to text.

They are entries of the table in :mod:`lbproxy.config.units`, which describes their signature.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from lbproxy.config.errors import Unfit, shorten

__all__ = [
    "DURATIONS",
    "RATE_PERIODS",
    "SIZES",
    "YES",
    "Facts",
    "dump_byte_rate",
    "dump_duration",
    "dump_percent",
    "dump_rate",
    "dump_size",
    "dump_times",
    "read_bool",
    "read_byte_rate",
    "read_duration",
    "read_float",
    "read_int",
    "read_octal",
    "read_percent",
    "read_rate",
    "read_size",
    "read_size_or_none",
    "read_times",
    "read_workers",
    "shown",
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
_SIZE = re.compile(r"([0-9]{1,40})([bkmgt]?)", re.IGNORECASE)
_RATE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,40})?)/([smhd])")


def shown(text: str) -> str:
    """Return ``text`` in quotes for an error, cut to 80 characters."""
    return repr(shorten(text, 80))


def _bounded(value: Any, facts: Facts, show: Callable[[Any], str]) -> Any:
    low, high = facts.get("min"), facts.get("max")
    if (low is not None and value < low) or (high is not None and value > high):
        if low is not None and high is not None:
            limits = f"between {show(low)} and {show(high)}"
        else:
            limits = f"at least {show(low)}" if low is not None else f"at most {show(high)}"
        raise Unfit(f"{show(value)} is out of bounds; it must be {limits}")
    return value


def read_int(text: str, facts: Facts, base_dir: str) -> int:
    """Read a whole number."""
    if not _INT.fullmatch(text):
        raise Unfit(f"{shown(text)} is not a whole number")
    value: int = _bounded(int(text), facts, str)
    return value


def read_float(text: str, facts: Facts, base_dir: str) -> float:
    """Read a decimal number."""
    if not _FLOAT.fullmatch(text):
        raise Unfit(f"{shown(text)} is not a number such as 3 or 0.5")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Unfit(f"{shown(text)} is too large")
    bounded: float = _bounded(value, facts, repr)
    return bounded


def read_octal(text: str, facts: Facts, base_dir: str) -> int:
    """Read a file mode."""
    found = _OCTAL.fullmatch(text)
    if not found or int(found[2], 8) > 0o7777:
        raise Unfit(f"{shown(text)} is not an octal file mode such as 660")
    return int(found[2], 8)


def read_bool(text: str, facts: Facts, base_dir: str) -> bool:
    """Read yes or no."""
    word = text.lower()
    if word in YES:
        return True
    if word in NO:
        return False
    raise Unfit(f"{shown(text)} is neither yes nor no", found=text, known=YES + NO)


def read_duration(text: str, facts: Facts, base_dir: str) -> float:
    """Read a duration, such as 1m30s, in seconds. Only 0 needs no unit."""
    total, at = Decimal(0), 0
    for part in _SPAN.finditer(text):
        if part.start() != at:
            break
        total, at = total + Decimal(part[1]) * DURATIONS[part[2]], part.end()
    if text == "0":
        at = 1
    if not text or at != len(text):
        unit = ", it needs a unit" if _FLOAT.fullmatch(text) else ""
        raise Unfit(f"{shown(text)} is not a duration{unit}: write 500ms, 30s, 2m, 1h, 1d or 1m30s")
    value: float = _bounded(float(total), facts, dump_duration)
    return value


def dump_duration(value: float) -> str:
    """Return a duration in the largest unit that shows it exactly."""
    exact = Decimal(repr(float(value)))
    for unit in ("w", "d", "h", "m"):
        if exact and exact % DURATIONS[unit] == 0:
            return f"{int(exact / DURATIONS[unit])}{unit}"
    if 0 < exact < 1 and exact * 1000 == int(exact * 1000):
        return f"{int(exact * 1000)}ms"
    return (f"{int(exact)}" if exact == int(exact) else format(exact, "f")) + "s"


def read_size(text: str, facts: Facts, base_dir: str) -> int:
    """Read a number of bytes."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise Unfit(f"{shown(text)} is not a size: write bytes, or a number with k, m, g or t")
    value: int = int(found[1]) * SIZES[found[2].lower()]
    if value >= 1 << 63:
        raise Unfit(f"{shown(text)} is too large")
    bounded: int = _bounded(value, facts, dump_size)
    return bounded


def dump_size(value: int) -> str:
    """Return a number of bytes in the largest unit that divides it."""
    for unit in ("t", "g", "m", "k"):
        if value and value % SIZES[unit] == 0:
            return f"{value // SIZES[unit]}{unit}"
    return str(value)


def read_size_or_none(text: str, facts: Facts, base_dir: str) -> int | None:
    """Read a number of bytes, or ``none``."""
    if text == "none":
        return None
    try:
        return read_size(text, facts, base_dir)
    except Unfit as error:
        raise Unfit(f"{error.message}; or write none") from None


def read_workers(text: str, facts: Facts, base_dir: str) -> int:
    """Read a number of workers, or ``cpu`` as 0."""
    return 0 if text == "cpu" else read_int(text, facts, base_dir)


def read_rate(text: str, facts: Facts, base_dir: str) -> float:
    """Read a rate as a number per second."""
    found = _RATE.fullmatch(text)
    if not found:
        raise Unfit(f"{shown(text)} is not a rate: write 10/s, 100/m, 1000/h or 5000/d")
    value: float = _bounded(float(found[1]) / RATE_PERIODS[found[2]], facts, dump_rate)
    return value


def read_byte_rate(text: str, facts: Facts, base_dir: str) -> float:
    """Read a rate of bytes per second, such as 500/s or 1m/10s; 0 for none."""
    size, slash, span = text.partition("/")
    if text == "0":
        return 0.0
    if not slash or not _SIZE.fullmatch(size):
        raise Unfit(f"{shown(text)} is not a rate of bytes: write 500/s, 4k/s or 1m/10s")
    seconds = read_duration(span if span[:1].isdigit() else "1" + span, {}, base_dir)
    if not seconds:
        raise Unfit(f"{shown(text)} is not a rate of bytes: the time is 0")
    value: float = _bounded(read_size(size, {}, base_dir) / seconds, facts, dump_byte_rate)
    return value


def dump_byte_rate(value: float) -> str:
    """Return a rate of bytes as whole numbers of bytes and seconds."""
    if not value:
        return "0"
    exact = Fraction(value).limit_denominator(100_000)
    span = "s" if exact.denominator == 1 else f"{exact.denominator}s"
    return f"{dump_size(exact.numerator)}/{span}"


def dump_rate(value: float) -> str:
    """Return a rate in ``/s``."""
    return format(Decimal(repr(float(value))), "f") + "/s"


_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,400})?)%")
_TIMES = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,400})?)x")


def read_percent(text: str, facts: Facts, base_dir: str) -> float:
    """Read a percentage as a fraction."""
    found = _PERCENT.fullmatch(text)
    if not found and text != "0":
        raise Unfit(f"{shown(text)} is not a share: write 20% or 0.5%")
    value: float = _bounded(float(Decimal(found[1]) / 100) if found else 0.0, facts, dump_percent)
    return value


def dump_percent(value: float) -> str:
    """Return a fraction as a percentage."""
    return format((Decimal(repr(float(value))) * 100).normalize(), "f") + "%"


def read_times(text: str, facts: Facts, base_dir: str) -> float:
    """Read a multiple, such as 3x."""
    found = _TIMES.fullmatch(text)
    if not found and text != "0":
        raise Unfit(f"{shown(text)} is not a multiple: write 3x or 1.5x")
    value: float = _bounded(float(found[1]) if found else 0.0, facts, dump_times)
    return value


def dump_times(value: float) -> str:
    """Return a multiple."""
    return format(Decimal(repr(float(value))).normalize(), "f") + "x"
