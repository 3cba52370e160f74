"""PURE. Conversion of bodies to JSON: CSV, XML, RSS and Atom, and elements of HTML by a CSS
selector.

All functions block for a time proportional to the size of the body, so they run in threads. A
:class:`ConvertError` contains the reason for a failure. Bounds: the caller bounds the size of the
body; documents are at most :data:`DEPTH_MAX` deep, declare no entities, and their JSON is at most
:data:`GROWTH_MAX` times as large.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from importlib import import_module
from itertools import accumulate
from typing import Any, Final
from xml.parsers import expat

__all__ = ["INPUTS", "ConvertError", "checked_selector", "convert", "extract"]

INPUTS: Final = ("csv", "xml", "rss")
DEPTH_MAX: Final = 200
GROWTH_MAX: Final = 8
ELEMENTS_MAX: Final = 1000
"""Maximum number of elements that a selector returns; further ones are omitted."""

SELECTOR_MAX: Final = 200
_SELECTOR: Final = re.compile(r"""[\w\s.#>+~,*=\[\]"'^$|:()/-]+""")
_PSEUDO: Final = re.compile(r":([\w-]+)")
_PLAIN_PSEUDOS: Final = frozenset(
    ("first-child", "last-child", "only-child", "first-of-type", "last-of-type", "empty", "root")
)
_STEPS_MAX: Final = 8
_DELIMITERS: Final = ",;\t|"
_CHARSET: Final = re.compile(r"(?i)charset\s*=\s*\"?([\w.:-]+)")
_NO_CHARSETS: Final = frozenset(
    ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")
)
"""Python codecs that documents do not use; some take quadratic time."""


class ConvertError(ValueError):
    """A body that cannot be converted."""


def convert(kind: str, body: bytes, content_type: str = "") -> bytes:
    """Return ``body`` of a ``kind`` of :data:`INPUTS` as JSON."""
    if kind == "csv":
        return _dumped(_rows(_text(body, content_type), _most(len(body))), len(body))
    root = _xml(body)
    return _dumped(_feed(root) if kind == "rss" else {root.tag: _plain(root)}, len(body))


def checked_selector(text: str) -> str:
    """Return a selector that takes bounded time. Raises ValueError.

    Functions such as ``:has()`` are refused, and so are more than a few steps.
    """
    text = text.strip()
    if not text or len(text) > SELECTOR_MAX or not _SELECTOR.fullmatch(text):
        raise ValueError(f"the selector is not a CSS selector of at most {SELECTOR_MAX} characters")
    for name in _PSEUDO.findall(text):
        if name not in _PLAIN_PSEUDOS:
            raise ValueError(f"the selector contains :{name}, which is not supported")
    if len(re.findall(r"[\s>+~,]+", text)) > _STEPS_MAX or "(" in text:
        raise ValueError("the selector contains too many steps, or a function")
    return text


def extract(selector: str, body: bytes, content_type: str = "") -> bytes:
    """Return the elements of an HTML ``body`` that match ``selector``, as JSON.

    The caller bounds the memory: a small document can have a very large tree.
    """
    parser: Any = import_module("selectolax.lexbor").LexborHTMLParser
    try:
        tree = parser(_text(body, content_type))
    except Exception as error:
        raise ConvertError(f"not HTML: {error}") from None
    _check_depth(tree.root)
    try:
        nodes = tree.css(selector)[:ELEMENTS_MAX]
    except Exception as error:
        raise ConvertError(f"the selector cannot be used: {error}") from None
    most = max(1, len(body)) * GROWTH_MAX
    found = []
    for node in nodes:
        text = node.text(strip=True)
        html = node.html or ""
        most -= len(text) + len(html)
        if most < 0:
            raise ConvertError("the elements are too large together")
        attributes = {name: value or "" for name, value in node.attributes.items()}
        found.append({"tag": node.tag, "text": text, "html": html, "attributes": attributes})
    return _dumped(found, len(body))


def _check_depth(root: Any) -> None:
    """Raise for a tree in which the search for ancestors takes too long."""
    node, depth = root, 0
    while node is not None:
        below = node.first_child
        if below is not None:
            node, depth = below, depth + 1
            if depth > DEPTH_MAX:
                raise ConvertError(f"the document is more than {DEPTH_MAX} elements deep")
            continue
        while node is not None and node.next is None:
            node, depth = node.parent, depth - 1
            if depth <= 0:
                return
        node = None if node is None else node.next


def _dumped(value: Any, size: int) -> bytes:
    found = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    if len(found) > _most(size):
        raise ConvertError("the JSON is too large")
    return found


def _most(size: int) -> int:
    """Return the maximum size of the JSON for a body of ``size`` bytes."""
    return GROWTH_MAX * size + 4096


def _text(body: bytes, content_type: str) -> str:
    named = _CHARSET.search(content_type)
    try:
        codec = codecs.lookup(named[1] if named else "utf-8-sig").name
    except LookupError:
        codec = "utf-8"
    try:
        return body.decode("utf-8" if codec in _NO_CHARSETS else codec, "replace")
    except LookupError:  # a Python codec that does not return text
        return body.decode("utf-8", "replace")


# -- CSV ---------------------------------------------------------------------------------------


def _rows(text: str, most: int) -> list[dict[str, str]]:
    """Return rows by the names in the first one. Surplus values are named by their column, from 1.

    Rows repeat the names, so their size is computed first: more than ``most`` characters are too
    large.
    """
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ConvertError(f"not CSV: {error}") from None
    if not rows:
        return []
    head = [name.strip() or str(place) for place, name in enumerate(rows[0], 1)]
    ends = list(accumulate(map(len, head), initial=0))
    found = []
    for row in rows[1:]:
        most -= ends[min(len(row), len(head))]
        if most < 0:
            raise ConvertError("the JSON is too large")
        if row:
            found.append(
                {
                    (head[place] if place < len(head) else str(place + 1)): value
                    for place, value in enumerate(row)
                }
            )
    return found


# -- XML ---------------------------------------------------------------------------------------


class _Element:
    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[_Element] = []
        self.parts: list[str] = []

    @property
    def text(self) -> str:
        """The text of the element, without that of its children."""
        return "".join(self.parts).strip()

    def find(self, *tags: str) -> str:
        """Return the text of the first child with one of these tags, "" without one."""
        return next((one.text for one in self.children if one.tag in tags), "")

    def every(self, tag: str) -> list[_Element]:
        """Return the children with this tag."""
        return [one for one in self.children if one.tag == tag]


def _xml(body: bytes) -> _Element:
    """Return the root of a document. Entities are refused, so that a small body stays small."""
    top = _Element("", {})
    stack = [top]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) > DEPTH_MAX:
            raise ConvertError(f"the document is more than {DEPTH_MAX} elements deep")
        one = _Element(tag, attributes)
        stack[-1].children.append(one)
        stack.append(one)

    def text(data: str) -> None:
        stack[-1].parts.append(data)

    def declared(*_: Any) -> int:
        raise ConvertError("the document declares entities")

    parser = expat.ParserCreate()
    parser.specified_attributes = True  # without the defaults of a DTD, which every element repeats
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: stack.pop()
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = declared
    parser.UnparsedEntityDeclHandler = declared
    parser.ExternalEntityRefHandler = declared
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise ConvertError(f"not XML: {error}") from None
    except (ValueError, LookupError) as error:  # an invalid encoding
        raise error if isinstance(error, ConvertError) else ConvertError("not XML") from None
    return top.children[0]


def _plain(one: _Element) -> Any:
    """Return text, or an object with attributes as ``@name`` and text as ``#text``. Repeated
    children become a list.
    """
    if not one.children and not one.attributes:
        return one.text
    found: dict[str, Any] = {f"@{name}": value for name, value in one.attributes.items()}
    many: set[str] = set()
    for child in one.children:
        value = _plain(child)
        if child.tag in many:
            found[child.tag].append(value)
        elif child.tag in found:
            found[child.tag] = [found[child.tag], value]
            many.add(child.tag)
        else:
            found[child.tag] = value
    if one.text:
        found["#text"] = one.text
    return found


def _feed(root: _Element) -> dict[str, Any]:
    """Return RSS 0.9 to 2.0 and Atom in a common form."""
    atom = root.tag == "feed"
    if not atom and root.tag not in ("rss", "rdf:RDF"):
        raise ConvertError("not RSS and not Atom")
    channel = root if atom else next(iter(root.every("channel")), root)
    items = root.every("entry") if atom else channel.every("item") or root.every("item")
    return {
        "title": channel.find("title"),
        "link": _link(channel),
        "description": channel.find("description", "subtitle"),
        "items": [_item(one) for one in items],
    }


def _item(one: _Element) -> dict[str, Any]:
    author = one.find("author", "dc:creator")
    if not author:
        author = next((person.find("name") for person in one.every("author")), "")
    return {
        "title": one.find("title"),
        "link": _link(one),
        "id": one.find("guid", "id"),
        "published": one.find("pubDate", "published", "updated", "dc:date"),
        "author": author,
        "description": one.find("description", "summary"),
        "content": one.find("content:encoded", "content"),
        "categories": [
            child.text or child.attributes.get("term", "") for child in one.every("category")
        ],
    }


def _link(one: _Element) -> str:
    for child in one.every("link"):
        if child.text or child.attributes.get("rel", "alternate") == "alternate":
            return child.text or child.attributes.get("href", "")
    return ""
