"""PURE. One rule of the firewall, as data."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

__all__ = ["CLASSES", "INJECTED", "Rule", "Severity", "View", "Zone"]


class Severity(int, Enum):
    """The importance of a rule. A match adds its value to the score of a request."""

    CRITICAL = 5
    ERROR = 4
    WARNING = 3
    NOTICE = 2


class Zone(str, Enum):
    """The part of a request that a rule examines."""

    METHOD = "method"
    TARGET = "target"  # the request target as sent
    PATH = "path"
    ARGS = "args"  # names and values of the query and of the body
    COOKIES = "cookies"
    HEADERS = "headers"

    __hash__ = str.__hash__


class View(str, Enum):
    """The form of the text that a pattern matches."""

    RAW = "raw"  # as sent, percent-decoded once in arguments
    TEXT = "text"  # decoded, lower case, white space reduced to one blank
    SQL = "sql"  # TEXT without SQL comments
    SHELL = "shell"  # TEXT without quotes and other characters that a shell drops
    FILE = "file"  # TEXT with / for \\, without /./, // and blanks at the ends

    __hash__ = str.__hash__


CLASSES = ("protocol", "scanner", "traversal", "rfi", "command", "code", "xss", "sqli")
"""The classes of rules, for metrics."""

INJECTED = (Zone.ARGS, Zone.COOKIES, Zone.PATH, Zone.HEADERS)
"""Zones that are searched for injected code."""


@frozen
class Rule:
    """A pattern, and the meaning of a match.

    ``id``: a number in the range of the OWASP Core Rule Set for the class. ``pattern``: in the
    syntax of RE2; each value is one line, so that ``^`` and ``$`` are the ends of a value.
    ``words``: the pattern is tried only on texts with one of these, in the form of ``view``; ()
    tries it always. ``paranoia``: the minimum level at which the rule is used. ``attacks`` and
    ``ordinary``: values with and without a match, for the self-test.
    """

    id: int
    kind: str
    message: str
    pattern: str
    words: tuple[str, ...]
    attacks: tuple[str, ...]
    ordinary: tuple[str, ...]
    view: View = View.TEXT
    zones: tuple[Zone, ...] = INJECTED
    severity: Severity = Severity.CRITICAL
    paranoia: int = 1
