"""PURE. Request bodies as arguments: forms, multipart, JSON, and any other as text."""

from __future__ import annotations

import codecs
import json
import re
import zlib
from typing import Any, Final

from lbproxy.waf.decode import one_line
from lbproxy.waf.target import Part, add_argument, is_plain, pairs_of

__all__ = ["BrokenBody", "body_parts", "in_utf8", "inflated"]

MOST_LEAVES: Final = 10_000
"""Values of a JSON body that are told apart; the rest is judged as text."""

MOST_PARTS: Final = 200
"""Parts of a multipart body."""

_UTF8: Final = frozenset((b"", b"utf-8", b"utf8", b"us-ascii", b"ascii"))
_BOUNDARY: Final = re.compile(rb'boundary="?([^";,]{1,200})"?', re.IGNORECASE)
_CHARSET: Final = re.compile(rb'charset\s*=\s*"?([^";,\s]{1,50})', re.IGNORECASE)
_NAME: Final = re.compile(rb'[; ]name\*?=(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)
_FILE: Final = re.compile(rb'filename\*?=(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)


class BrokenBody(ValueError):
    """The body is not what its head says.  ``status``: of the refusal."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def inflated(data: bytes, coding: bytes, limit: int, *, whole: bool) -> tuple[bytes, bool]:
    """Undo the Content-Encoding of a body; return at most ``limit`` bytes, and whether that is all.

    ``whole``: ``data`` is the complete body.  BrokenBody for unknown codings and damaged data.
    """
    for name in reversed([one.strip().lower() for one in coding.split(b",")]):
        if name in (b"", b"identity"):
            continue
        if name not in (b"gzip", b"x-gzip", b"deflate"):
            text = name.decode("latin-1")[:40]
            raise BrokenBody(f"Content-Encoding {text} cannot be judged", 415)
        data, complete = _inflate(data, name, limit)
        if whole and not complete and len(data) < limit:
            raise BrokenBody("the compressed body is cut short")
        whole = whole and complete
    return data[:limit], whole and len(data) <= limit


def _inflate(data: bytes, name: bytes, limit: int) -> tuple[bytes, bool]:
    out, complete = b"", False
    raw = name == b"deflate" and not (data[:1] and data[0] & 15 == 8)
    while data and len(out) <= limit:
        unzip = zlib.decompressobj(-15 if raw else 47)
        try:
            out += unzip.decompress(data, limit + 1 - len(out))
        except zlib.error as error:
            raise BrokenBody(f"the compressed body is damaged: {error}") from None
        complete = unzip.eof and not unzip.unused_data
        data = unzip.unused_data
        if not unzip.eof:
            break
    return out, complete


def body_parts(data: bytes, content_type: bytes, *, whole: bool) -> list[Part]:
    """Return the arguments of a body.  ``whole``: it is complete; else its end is missing.

    BrokenBody if the body is not of the type.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    data = in_utf8(data, content_type)
    if kind == b"application/x-www-form-urlencoded":
        return pairs_of(data)
    if kind == b"multipart/form-data":
        return _multipart(data, content_type, whole)
    if kind == b"application/json" or kind.endswith(b"+json"):
        return _json(data) if whole and data.strip() else _text(data)
    return _text(data)


def in_utf8(data: bytes, content_type: bytes) -> bytes:
    """Return the body in UTF-8, as its charset says.  BrokenBody for an unknown charset."""
    found = _CHARSET.search(content_type)
    name = b"" if found is None else found[1].lower()
    if name in _UTF8:
        return _marked(data)
    text = name.decode("latin-1")
    try:
        codec = codecs.lookup(text)
        if not codec._is_text_encoding or codec.name in ("idna", "punycode", "undefined"):
            raise LookupError
        return data.decode(text, "replace").encode("utf-8", "replace")
    except (LookupError, ValueError):
        raise BrokenBody(f"charset {text} is unknown", 415) from None


def _marked(data: bytes) -> bytes:
    """Undo UTF-16 and UTF-32 that a byte order mark announces."""
    if data[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.removeprefix(codecs.BOM_UTF8)
    name = "utf-32" if data[:4] == codecs.BOM_UTF32_LE else "utf-16"
    return data.decode(name, "replace").encode("utf-8", "replace")


def _text(data: bytes) -> list[Part]:
    """Return the lines of a text as one value, and nothing of binary data."""
    if not data or b"\0" in data[:1024]:
        return []
    return [("BODY", one_line(data))]


def _json(data: bytes) -> list[Part]:
    found: list[Part] = []
    try:
        value = json.loads(data, object_pairs_hook=_Members)
    except (ValueError, RecursionError) as error:
        raise BrokenBody(f"the body is no JSON: {type(error).__name__}") from None
    todo: list[tuple[str, Any]] = [("", value)]
    while todo:
        label, one = todo.pop()
        if isinstance(one, _Members):
            for name, member in one.pairs:
                full = f"{label}.{name}" if label else name
                todo.append((full[:100], member))
                if not is_plain(name.encode("utf-8", "replace")):
                    found.append(
                        (f"ARGS_NAMES:{name[:100]}", _bytes(full if "proto" in name else name))
                    )
        elif isinstance(one, list):
            todo += [(label, item) for item in one]
        elif isinstance(one, str) and one:
            found.append((f"ARGS:{label}", _bytes(one)))
        if len(found) > MOST_LEAVES:
            return _text(data)
    return found


class _Members:
    """An object with all its members: of a name that is written twice, servers differ in which they
    take."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _bytes(text: str) -> bytes:
    return one_line(text.encode("utf-8", "replace"))


def _multipart(data: bytes, content_type: bytes, whole: bool) -> list[Part]:
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BrokenBody("multipart without a boundary")
    # servers look for it at the beginning of a line, so inside of a line it ends nothing
    pieces = (b"\n" + data).split(b"\n--" + found[1], MOST_PARTS)
    rest = pieces.pop() if len(pieces) > MOST_PARTS else None
    if whole and rest is None and (len(pieces) < 2 or pieces[-1][:2] != b"--"):
        raise BrokenBody("multipart without its last boundary")
    parts: list[Part] = []
    for place, piece in enumerate(pieces[1:], start=2):
        if piece[:2] != b"--":
            _add_part(piece, parts, whole)
        elif piece[2:].strip() or place < len(pieces) or rest is not None:
            raise BrokenBody("multipart goes on behind its last boundary")
    if rest is not None:
        parts.append(("BODY", one_line(rest)))
    return parts


def _add_part(piece: bytes, parts: list[Part], whole: bool) -> None:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank:
        head, blank, content = piece.partition(b"\n\n")
    name, file = _NAME.search(head), _FILE.search(head)
    if not blank or name is None:
        if whole:
            raise BrokenBody("a part of multipart without a name")
        return
    content = content.removesuffix(b"\r")
    label = name[1] if name[1] is not None else name[2]
    if file is None:
        add_argument(parts, label, content)
        return
    add_argument(parts, label, b"")
    file_name = file[1] if file[1] is not None else file[2]
    text = label.decode("utf-8", "replace")[:100]
    parts.append((f"FILES_NAMES:{text}", b"filename=" + one_line(file_name)))
    if b"\0" not in content[:1024]:
        parts.append((f"FILES:{text}", one_line(content)))
