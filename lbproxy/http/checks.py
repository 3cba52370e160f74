"""PURE. The most frequent tests of routes' conditions: native classes that read the head in place.

:mod:`lbproxy.http.condition` creates them, and :mod:`lbproxy.http.route` calls them for each
request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lbproxy.http.message import RequestHead, field_name
from lbproxy.http.pattern import Matcher, text_matcher

__all__ = [
    "Called",
    "Check",
    "CookieCheck",
    "HeaderCheck",
    "HostCheck",
    "MethodCheck",
    "Not",
    "PathCheck",
    "Patterns",
    "QueryCheck",
    "text_patterns",
]


class Patterns:
    """Several patterns for one value. Exact texts and prefixes are compared, other patterns are
    called.
    """

    __slots__ = ("_exact", "_others", "_starts")

    def __init__(
        self,
        exact: Sequence[bytes] = (),
        starts: Sequence[bytes] = (),
        others: Sequence[Matcher] = (),
    ) -> None:
        self._exact: list[bytes] = list(exact)
        self._starts: list[bytes] = list(starts)
        self._others: list[Any] = list(others)

    def match(self, value: bytes) -> bool:
        """Return whether one of them matches all of ``value``."""
        for text in self._exact:
            if value == text:
                return True
        for start in self._starts:
            if value.startswith(start):
                return True
        return any(match(value) for match in self._others)


def text_patterns(patterns: Sequence[str]) -> Patterns:
    """Return the patterns as :func:`~lbproxy.http.pattern.text_matcher` reads them. Raises
    ValueError like it.
    """
    exact: list[bytes] = []
    starts: list[bytes] = []
    others: list[Matcher] = []
    for pattern in patterns:
        raw = pattern.encode("utf-8")
        if pattern.startswith("~") or b"?" in raw or b"*" in raw[:-1]:
            others.append(text_matcher(pattern))
        elif raw.endswith(b"*"):
            starts.append(raw[:-1])
        else:
            exact.append(raw)
    return Patterns(exact, starts, others)


class Check:
    """A test of one condition."""

    __slots__ = ()

    def passes(self, context: Any, request: RequestHead | None, path: bytes) -> bool:
        """Return whether the condition holds. ``request`` is ``context.request``; ``path`` is
        normalised.
        """
        raise NotImplementedError

    def __call__(self, context: Any, path: bytes) -> bool:
        """See :data:`lbproxy.http.context.Test`."""
        return self.passes(context, context.request, path)


class Called(Check):
    """Any other test, which is called."""

    __slots__ = ("_test",)

    def __init__(self, test: Callable[[Any, bytes], bool]) -> None:
        self._test = test

    def passes(self, context: Any, request: RequestHead | None, path: bytes) -> bool:
        """See :class:`Check`."""
        return self._test(context, path)


class Not(Check):
    """The negation of a test."""

    __slots__ = ("_check",)

    def __init__(self, check: Check) -> None:
        self._check = check

    def passes(self, context: Any, request: RequestHead | None, path: bytes) -> bool:
        """See :class:`Check`."""
        return not self._check.passes(context, request, path)


class HostCheck(Check):
    """The condition ``host NAME...``."""

    __slots__ = ("_match",)

    def __init__(self, match: Matcher) -> None:
        self._match = match

    def passes(self, context: Any, request: RequestHead | None, path: bytes) -> bool:
        """See :class:`Check`."""
        return request is not None and self._match(request.hostname)


class PathCheck(Check):
    """The condition ``path PATTERN...``."""

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns

    def passes(self, context: Any, request: RequestHead | None, path: bytes) -> bool:
        """See :class:`Check`."""
        return self._patterns.match(path)


class MethodCheck(Check):
    """The condition ``method METHOD...``."""

    __slots__ = ("_methods",)

    def __init__(self, methods: frozenset[bytes]) -> None:
        self._methods = methods

    def passes(self, context: Any, request: RequestHead | None, path: bytes) -> bool:
        """See :class:`Check`."""
        return request is not None and request.method in self._methods


class HeaderCheck(Check):
    """The condition ``header NAME [PATTERN...]``: one of the values matches, or the header
    exists.
    """

    __slots__ = ("_name", "_patterns")

    def __init__(self, name: bytes, patterns: Patterns | None) -> None:
        self._name = field_name(name)
        self._patterns = patterns

    def passes(self, context: Any, request: RequestHead | None, path: bytes) -> bool:
        """See :class:`Check`."""
        if request is None:
            return False
        patterns = self._patterns
        if patterns is None:
            return request.first(self._name) is not None
        name = self._name
        if not request.untouched_lines:
            return any(patterns.match(value) for value in request.every(name))
        index = request.next_line(name, 0)
        while index >= 0:
            if patterns.match(request.lines.value_at(index)):
                return True
            index = request.next_line(name, index + 1)
        return False


class CookieCheck(Check):
    """The condition ``cookie NAME [PATTERN...]``: the first cookie of this name matches, or
    exists.
    """

    __slots__ = ("_name", "_patterns")

    def __init__(self, name: bytes, patterns: Patterns | None) -> None:
        self._name = name
        self._patterns = patterns

    def passes(self, context: Any, request: RequestHead | None, path: bytes) -> bool:
        """See :class:`Check`."""
        if request is None:
            return False
        value = request.cookie(self._name)
        if value is None:
            return False
        return self._patterns is None or self._patterns.match(value)


class QueryCheck(Check):
    """The condition ``query NAME [PATTERN...]``: the first parameter of this name matches, or
    exists.
    """

    __slots__ = ("_name", "_patterns")

    def __init__(self, name: bytes, patterns: Patterns | None) -> None:
        self._name = name
        self._patterns = patterns

    def passes(self, context: Any, request: RequestHead | None, path: bytes) -> bool:
        """See :class:`Check`."""
        if request is None:
            return False
        value = request.query_value(self._name)
        if value is None:
            return False
        return self._patterns is None or self._patterns.match(value)
