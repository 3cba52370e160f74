"""PURE. The escaping of a template's variables, which depends on the text around them.

A :data:`Place` is evaluated once, when the configuration is read. It returns the function that
escapes the value in each request. That function raises ProxyError BAD_REQUEST for a value that
would leave its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import unquote_to_bytes

from attrs import frozen

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.escape import (
    Escaper,
    encoded_segment,
    encoded_value,
    markup,
    quoted,
    script,
    segment,
    url,
    url_literal,
    value,
)
from lbproxy.http.paths import normal_path

__all__ = [
    "GAP",
    "Place",
    "Shape",
    "Variable",
    "fence",
    "in_json",
    "in_markup",
    "in_path",
    "in_redirect",
    "in_script",
    "is_inside",
    "plain",
    "split_reference",
]

GAP = "\0"
"""Represents a variable in the text around another one. No template contains it."""

Shape = Literal["path", "query", "encoded", "host", "text"]
"""Content of a variable: a path (possibly with its query), a query, percent-encoded text, a host
name, a scheme or an address known to be valid, or any text of the client.
"""


@frozen
class Variable:
    """A variable in a template: its name, its content, and the text before and after it."""

    name: str
    shape: Shape
    before: str
    after: str

    def refuse(self, reason: str) -> ProxyError:
        """Return the error for a value that is not allowed here."""
        return ProxyError(Kind.BAD_REQUEST, f"{{{self.name}}} {reason}")


Place = Callable[[Variable], Escaper]


def plain(variable: Variable) -> Escaper:
    """Escape for a header or plain text, where only control characters matter."""
    return bytes


# URLs

_AUTHORITY = re.compile(rf"(?i)(?:[a-z{GAP}][a-z0-9+.-]*:)?//([^/]*)\Z")
_HOST = re.compile(rf"(?i)(?:[a-z{GAP}][a-z0-9+.-]*:)?//[^/?#]*")
_DOTS = (b".", b"..")


def in_redirect(variable: Variable) -> Escaper:
    """Escape for a URL reference, such as the target of a redirect.

    A value at the beginning, or after a complete host, must be a path of the same host. A value for
    the scheme must be http or https.
    """
    before, after = variable.before, variable.after
    if not before and after.startswith("://"):
        return _scheme(variable)
    authority = _AUTHORITY.match(before)
    if (not before or authority) and variable.shape == "path":
        return url
    if not before:
        return _reference(variable)
    if authority:
        if variable.shape == "host":
            return url
        return _host_part if authority[1][-1:] in ("", ".", ":", "-") else _reference(variable)
    return in_path(variable)


def in_path(variable: Variable) -> Escaper:
    """Escape for a path or the text after it: a segment, a part of the query, or a fragment."""
    before = variable.before
    if "?" not in before and "#" not in before:
        return url if variable.shape == "path" else _segment(variable)
    if variable.shape == "query" and before.endswith(("?", "&")):
        return url
    return encoded_value if variable.shape == "encoded" else value


def _segment(variable: Variable) -> Escaper:
    escape = encoded_segment if variable.shape == "encoded" else segment
    if not variable.before.endswith("/"):
        return escape
    last = variable.after[:1] in ("", "?", "#")
    if not last and variable.after[0] not in f"/*{GAP}":
        return escape

    def whole(text: bytes) -> bytes:
        text = escape(text)
        if not text and not last:
            raise variable.refuse("is empty, but a path needs it")
        if unquote_to_bytes(text) in _DOTS:
            raise variable.refuse("is a dot segment")
        return text

    return whole


def _scheme(variable: Variable) -> Escaper:
    def scheme(text: bytes) -> bytes:
        text = text.lower()
        if text not in (b"http", b"https"):
            raise variable.refuse("is not http or https")
        return text

    return scheme


def _host_part(text: bytes) -> bytes:
    return segment(text).replace(b"@", b"%40")  # the check of the host refuses invalid characters


def _reference(variable: Variable) -> Escaper:
    decode = variable.shape == "encoded"

    def reference(text: bytes) -> bytes:
        if decode:
            text = unquote_to_bytes(text.replace(b"+", b" "))
        if not _is_local(text):
            raise variable.refuse("is not a path of this host: it must begin with one slash")
        return url(text)

    return reference


def _is_local(text: bytes) -> bool:
    """Return whether ``text`` is a path for every browser; most take a backslash for a slash."""
    return text.startswith(b"/") and text[1:2] not in (b"/", b"\\")


def split_reference(outline: str) -> tuple[str, str]:
    """Return the scheme and host of a URL reference, and its path."""
    host = _HOST.match(outline)
    end = host.end() if host else 0
    return outline[:end], re.split(r"[?#]", outline[end:], maxsplit=1)[0]


def fence(path: str) -> bytes:
    """Return the folder that a template's path must not leave: its text before the first variable.

    ``path`` has a :data:`GAP` for each variable. Raises ValueError if the text itself leaves the
    root.
    """
    text = path.partition(GAP)[0]
    folder = normal_path(url_literal(text[: text.rfind("/") + 1].encode("utf-8")))
    if folder is None:
        raise ValueError(f"{path.replace(GAP, '*')!r} leaves the root")
    return folder


def is_inside(path: bytes, folder: bytes) -> bool:
    """Return whether ``path`` is below the normalised ``folder`` for every server."""
    normal = normal_path(path)
    return normal is not None and normal.startswith(folder)


# JSON and scripts

_NUMBERS = frozenset({"client_port"})


def _in_string(text: str, quotes: str) -> bool:
    """Return whether a string literal is open at the end of ``text``."""
    opened = ""
    escaped = False
    for char in text:
        if escaped:
            escaped = False
        elif opened:
            escaped = char == "\\"
            opened = "" if char == opened else opened
        elif char in quotes:
            opened = char
    return opened != ""


def in_json(variable: Variable) -> Escaper:
    """Escape for JSON: within a string, or as a complete string. ``{client_port}`` may be a
    number.
    """
    if _in_string(variable.before, '"'):
        return script
    return bytes if variable.name in _NUMBERS else quoted


def in_script(variable: Variable) -> Escaper:
    """Escape for JavaScript: within a string, or as a complete string."""
    if _in_string(variable.before, "\"'`"):
        return script
    return bytes if variable.name in _NUMBERS else quoted


# HTML and XML

_TAG = re.compile(r"""<[a-zA-Z/!?](?:[^<>"']|"[^"]*"|'[^']*')*>""")
_OPEN_TAG = re.compile(r"<[a-zA-Z/!?]")
_ELEMENT = re.compile(r"(?is)<(script|style)\b(?:[^>\"']|\"[^\"]*\"|'[^']*')*>((?:(?!</\1).)*)\Z")
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)\s*=\s*(?:"([^"]*)|'([^']*))\Z""")
_URLS = frozenset(
    ("action", "background", "cite", "data", "formaction", "href", "ping", "poster", "src")
)
_CODE = frozenset(("srcdoc", "srcset", "style"))


def in_markup(variable: Variable) -> Escaper:
    """Escape for HTML or XML: in text, in a quoted attribute, or in a script.

    A value at the beginning of a URL attribute must be a path of this host; otherwise it is
    replaced by ``#``. Raises ValueError for places that no escape makes safe.
    """
    element = _ELEMENT.search(variable.before)
    if element:
        if element[1].lower() == "style":
            raise ValueError(f"{{{variable.name}}} cannot be used in a style sheet")
        return script if _in_string(element[2], "\"'`") else quoted
    rest = _TAG.sub("", variable.before)
    if not _OPEN_TAG.search(rest):
        return markup
    attribute = _ATTRIBUTE.search(rest)
    if attribute is None:
        raise ValueError(
            f"{{{variable.name}}} in a tag is allowed only in the value "
            "of an attribute, within quotes"
        )
    name = attribute[1].lower().rpartition(":")[2]
    if name.startswith("on") or name in _CODE:
        raise ValueError(f"{{{variable.name}}} cannot be used in the attribute {name}")
    written = (attribute[2] or "") + (attribute[3] or "")
    if name in _URLS and not written.strip():
        return _link
    return markup


def _link(text: bytes) -> bytes:
    return markup(url(text)) if _is_local(text) else b"#"
