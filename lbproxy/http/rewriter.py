"""PURE. The functions of the filter ``rewrite``, from a path to the path for servers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.condition import path_key
from lbproxy.http.context import TemplateContext
from lbproxy.http.escape import encoded_value, url_literal
from lbproxy.http.paths import normal_path
from lbproxy.http.pattern import compile_regex
from lbproxy.http.place import GAP, fence, in_path, is_inside
from lbproxy.http.template import Template

__all__ = ["Rewriter", "plain_rewriter", "regex_rewriter"]

Rewriter = Callable[[bytes, bytes, TemplateContext], "bytes | None"]
"""Called with a normalised path, the received path, and the traffic."""
_GROUP: Final = re.compile(r"(\$\$|[$\\]\d)")


def _target(text: str, before: str, after: str) -> Template:
    """A piece of a new target, between ``before`` and ``after``."""
    return Template(
        text, place=in_path, literal=url_literal, before=before, after=after, early=True
    )


def _check_inside(target: bytes, folder: bytes) -> bytes:
    """Return ``target``, which begins with a slash, if its path is below ``folder``."""
    if not is_inside(target.partition(b"?")[0], folder):
        raise ProxyError(Kind.BAD_REQUEST, f"rewritten path leaves {folder.decode()}")
    return target


class _Group:
    """A group of a regular expression. It is inserted unchanged in a path, and escaped as a value
    in a query.
    """

    __slots__ = ("in_query", "number")

    def __init__(self, number: int, in_query: bool) -> None:
        self.number = number
        self.in_query = in_query

    def of(self, found: Any) -> bytes:
        """Return the text of the group, escaped."""
        text: bytes = found.group(self.number) or b""
        return encoded_value(text) if self.in_query else text


def _regex_pieces(pattern: str, replacement: str, groups: int) -> list[Template | _Group]:
    """Return a regex replacement as templates and groups."""
    texts = [""]
    numbers: list[int] = []
    for part in _GROUP.split(replacement):
        if part == "$$":
            texts[-1] += "$"
        elif _GROUP.fullmatch(part):
            numbers.append(int(part[1]))
            texts.append("")
        else:
            texts[-1] += part
    if wrong := [number for number in numbers if number > groups]:
        raise ValueError(f"replacement has ${wrong[0]}, but the pattern has {groups} groups")
    # the text before and after is the rest of the path, unless the expression is anchored
    outline = "" if replacement.startswith("/") else "/" if pattern.startswith("^") else GAP
    pieces: list[Template | _Group] = []
    for at, text in enumerate(texts):
        after = GAP if at < len(numbers) or not pattern.endswith("$") else ""
        template = _target(text, outline, after)
        outline += template.outline
        pieces.append(template)
        if at < len(numbers):
            pieces.append(_Group(numbers[at], "?" in outline))
            outline += GAP
    return pieces


def regex_rewriter(pattern: str, replacement: str) -> Rewriter:
    """Return a function that rewrites paths by a regular expression."""
    regex = compile_regex(pattern)
    pieces = _regex_pieces(pattern, replacement, regex.groups)
    fixed = pieces[0].outline.partition(GAP)[0] if isinstance(pieces[0], Template) else ""
    start = url_literal(fixed.partition("?")[0].encode("utf-8"))

    def rewrite(path: bytes, raw: bytes, traffic: TemplateContext) -> bytes | None:
        found = regex.search(path)
        if found is None:
            return None
        new = [
            piece.of(found) if isinstance(piece, _Group) else piece.render(traffic)
            for piece in pieces
        ]
        kept = path[: found.start()] + start
        folder = normal_path(_rooted(kept[: kept.rfind(b"/") + 1])) or b"/"
        return _check_inside(
            _rooted(path[: found.start()] + b"".join(new) + path[found.end() :]), folder
        )

    return rewrite


def _rooted(path: bytes) -> bytes:
    return path if path and path[0] == 47 else b"/" + path


def _rest(path: bytes, raw: bytes, start: bytes) -> bytes:
    """Return the part of ``path`` after the prefix ``start``, spelled as in ``raw`` if that means
    the same.

    Raises ProxyError BAD_REQUEST if it would leave its new place.
    """
    rest = path[len(start) :]
    if path is raw and rest[:1] not in (b"/", b"."):
        return rest  # received in normal form, so that it is normal in any place
    normal = normal_path(b"/" + rest)
    if normal is None:
        raise ProxyError(Kind.BAD_REQUEST, "path leaves the rewritten prefix")
    if raw.startswith(start) and normal_path(b"/" + raw[len(start) :]) == normal:
        kept = raw[len(start) :]
        # "//name" at the beginning of a target could be read as a host
        return kept if rest.startswith(b"/") else kept.lstrip(b"/")
    return rest


def plain_rewriter(pattern: str, replacement: str) -> Rewriter:
    """Return a function that rewrites paths with a prefix."""
    kind, start = path_key(pattern)
    if kind == "glob":
        raise ValueError(
            f"rewrite pattern {pattern!r}: a path, a path with '*' at its end, or ~regex"
        )
    before, star, after = replacement.partition("*")
    if star and kind == "exact":
        raise ValueError(f"replacement {replacement!r} has '*', but the pattern has none")
    head = _target(before, "" if before.startswith("/") else "/", GAP if star else "")
    outline = "/" + head.outline.removeprefix("/") + (GAP if star else "")
    tail = _target(after, outline, "")
    folder = fence((outline + tail.outline).partition("?")[0])
    in_query = "?" in head.outline
    prefix = kind == "prefix"
    # _rest checks a rest that follows a fixed folder
    folder_fixed = star and head.constant is not None and head.constant.endswith(b"/")
    is_sure = folder_fixed and tail.outline[:1] in ("", "?")
    if head.constant is not None and tail.constant is not None and not star:
        is_sure = True

    def rewrite(path: bytes, raw: bytes, traffic: TemplateContext) -> bytes | None:
        if not (path.startswith(start) if prefix else path == start):
            return None
        rest = _rest(path, raw, start) if star else b""
        if in_query:
            rest = encoded_value(rest)
        new = _rooted(head.render(traffic) + rest + tail.render(traffic))
        return new if is_sure else _check_inside(new, folder)

    return rewrite
