"""PURE. Parsers of single values, and their conversion back to text.

Other modules of this package call :func:`parse` and :func:`dump`; the table :data:`KINDS` has all
kinds. Every parser gets the text without surrounding quotes, and raises
:class:`lbproxy.config.errors.Unfit` with what was found and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import frozen

from lbproxy.config.addresses import (
    parse_address,
    parse_name,
    parse_network,
    parse_path,
    parse_target,
)
from lbproxy.config.errors import Unfit
from lbproxy.config.numbers import (
    Facts,
    dump_byte_rate,
    dump_duration,
    dump_percent,
    dump_rate,
    dump_size,
    dump_times,
    read_bool,
    read_byte_rate,
    read_duration,
    read_float,
    read_int,
    read_octal,
    read_percent,
    read_rate,
    read_size,
    read_size_or_none,
    read_times,
    read_workers,
    shown,
)
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


_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


# -- numbers ---------------------------------------------------------------------------------------


def parse_span(text: str) -> tuple[int, int]:
    """Return a period such as ``22:00-06:00`` in minutes after midnight. Raises :class:`Unfit`."""
    found = clock_span(text)
    if found is not None:
        return found
    raise Unfit(f"{shown(text)} is not a time of the day: write 22:00-06:00")


def _span(text: str, facts: Facts, base_dir: str) -> str:
    parse_span(text)
    return text


# -- words -----------------------------------------------------------------------------------------


def _string(text: str, facts: Facts, base_dir: str) -> str:
    if "\0" in text:
        raise Unfit(f"{shown(text)} contains a NUL character")
    return text


def _choice(text: str, facts: Facts, base_dir: str) -> str:
    choices: tuple[str, ...] = tuple(facts.get("choices", ()))
    if text not in choices:
        raise Unfit(f"{shown(text)} is not a choice", found=text, known=choices)
    return text


CAUSES = ("connect", "reset", "timeout", "junk")
"""Words for causes of a failed attempt; see :mod:`lbproxy.http.retry`."""


def _retry(text: str, facts: Facts, base_dir: str) -> str:
    known = (*CAUSES, "5xx")
    if text in known:
        return text
    if not text.isdigit():
        raise Unfit(f"{shown(text)} is neither a cause nor a status", found=text, known=known)
    if not (len(text) == 3 and 400 <= int(text) <= 599):
        raise Unfit(f"{shown(text)} is not a status that can be retried; it must be 400 to 599")
    return text


def _name(text: str, facts: Facts, base_dir: str) -> str:
    return parse_name(text)


def _method(text: str, facts: Facts, base_dir: str) -> str:
    if not _METHOD.fullmatch(text):
        raise Unfit(f"{shown(text)} is not a request method", found=text)
    if text.upper() in _METHODS and not text.isupper():
        raise Unfit(f"{shown(text)}: write this method in capitals, {text.upper()}")
    return text


def _program(text: str, facts: Facts, base_dir: str) -> str:
    """Read a path if it contains a slash, else a name to be looked up in PATH."""
    return _path(text, facts, base_dir) if "/" in text else _string(text, facts, base_dir)


def _path(text: str, facts: Facts, base_dir: str) -> str:
    return parse_path(text, base_dir)


def _pattern(text: str, facts: Facts, base_dir: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise Unfit(f"{shown(text)} is not a regular expression: {error}") from None
    return text


SECRET_LENGTH = 16
"""Minimum length of a secret in characters."""


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
    "int": UnitKind("whole number", read_int),
    "float": UnitKind("number", read_float, lambda value: repr(float(value))),
    "octal": UnitKind("octal file mode, such as 660", read_octal, lambda value: f"{value:o}"),
    "bool": UnitKind("yes or no", read_bool, lambda value: "yes" if value else "no"),
    "flag": UnitKind(
        "flag: the word alone turns it on", read_bool, lambda value: "on" if value else "off"
    ),
    "duration": UnitKind("duration, such as 500ms, 30s or 1h", read_duration, dump_duration),
    "size": UnitKind("size in bytes, such as 64k or 10m", read_size, dump_size),
    "size_or_none": UnitKind(
        "size in bytes, such as 64k or 10m, or none",
        read_size_or_none,
        dump_size,
        none="none",
    ),
    "span": UnitKind("time of the day, such as 22:00-06:00", _span),
    "workers": UnitKind(
        "whole number, or cpu", read_workers, lambda value: str(value) if value else "cpu"
    ),
    "rate": UnitKind("rate, such as 10/s or 100/m", read_rate, dump_rate),
    "byte_rate": UnitKind("rate of bytes, such as 500/s or 4k/s", read_byte_rate, dump_byte_rate),
    "percent": UnitKind("share, such as 20% or 0.5%", read_percent, dump_percent),
    "times": UnitKind("multiple, such as 3x or 1.5x", read_times, dump_times),
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
    """Return ``text`` as a value of ``kind``. ``list:KIND`` gives a tuple.

    ``facts`` are a field's metadata (see :func:`lbproxy.model.option`). Relative paths are resolved
    against ``base_dir``. Raises :class:`Unfit`.
    """
    one = _kind(kind)
    if kind.startswith("list:"):
        return tuple(one.parse(item, facts, base_dir) for item in comma_items(text))
    return one.parse(text, facts, base_dir)


def dump(kind: str, value: Any) -> str:
    """Return the text that :func:`parse` reads as ``value``."""
    one = _kind(kind)
    if value is None:
        return one.none
    if kind.startswith("list:"):
        return join((one.dump(item) for item in value), ",")
    return one.dump(value)


def describe(kind: str, facts: Facts) -> str:
    """Return the kind in words, including bounds and choices, for the reference."""
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
    """Return the default ``value`` in words, for the reference."""
    if kind.startswith("list:"):
        return dump(kind, value) if value else "empty"
    one = _kind(kind)
    return one.unset if value in ("", None, ()) else one.dump(value)
