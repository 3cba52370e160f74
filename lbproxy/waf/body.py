"""PURE. Request bodies as arguments: forms, multipart, JSON, and other types as text."""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Iterable
from typing import Any, Final

from lbproxy.waf.decode import one_line, spellings
from lbproxy.waf.target import Part, add_argument, is_plain, pairs_of

__all__ = ["BrokenBody", "body_headers", "body_parts", "in_utf8", "inflated"]

MOST_LEAVES: Final = 10_000
"""Maximum number of values of a JSON body with separate names; the rest share one name."""

MOST_PARTS: Final = 200
"""Maximum number of parts of a multipart body."""

MOST_CODINGS: Final = 3
"""Maximum number of nested content codings that are undone."""

MOST_MEMBERS: Final = 256
"""Maximum number of members of a gzip body. Each costs a copy of all later ones."""

_UTF8: Final = frozenset((b"", b"utf-8", b"utf8", b"us-ascii", b"ascii"))
_FORM: Final = b"application/x-www-form-urlencoded"
_ASCII: Final = bytes(range(32, 127))
_BOUNDARY: Final = re.compile(
    rb';\s*boundary=(?:"([^"\\]{1,200})"|([^";,\s\\]{1,200}))\s*(?=[;,]|$)', re.IGNORECASE
)
_CHARSET: Final = re.compile(rb'charset\s*=\s*"?([^";,\s]{1,50})', re.IGNORECASE)
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_PARAMETER: Final = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))')
_PLAIN_CODINGS: Final = (b"", b"7bit", b"8bit", b"binary")
_DECLARED: Final = re.compile(
    rb"""(<\?xml[^>]{0,200}?\s)(encoding\s*=\s*["']([\w.:-]{1,40})["'])"""
)
_WIDE_XML: Final = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
    (b"\x4c\x6f\xa7\x94", "cp037"),
)
"""The first bytes of an XML document without a byte order mark in these encodings."""


class BrokenBody(ValueError):
    """The body does not match its head. ``status``: status of the refusal."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def body_headers(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return Content-Type and Content-Encoding of a request.

    Raises BrokenBody for two content types, because servers differ in which one they use.
    """
    kinds: list[bytes] = []
    codings: list[bytes] = []
    for name, value in pairs:
        low = name.lower()
        if low == b"content-type":
            kinds.append(value.strip())
        elif low == b"content-encoding":
            codings.append(value)
    kind = kinds[0] if kinds else b""
    if len(set(kinds)) > 1 or b"," in _kind(kind):
        raise BrokenBody("two values of Content-Type")
    return kind, b",".join(codings)


def inflated(data: bytes, coding: bytes, limit: int, *, whole: bool) -> tuple[bytes, bool]:
    """Undo the Content-Encoding of a body; return at most ``limit`` bytes, and whether that is all.

    ``whole``: ``data`` is the complete body. Raises BrokenBody for unknown codings and damaged
    data.
    """
    names = [one.strip().lower() for one in coding.split(b",")]
    names = [one for one in names if one not in (b"", b"identity")]
    if len(names) > MOST_CODINGS:
        raise BrokenBody(f"more than {MOST_CODINGS} codings cannot be inspected", 415)
    for name in reversed(names):
        if name not in (b"gzip", b"x-gzip", b"deflate"):
            text = name.decode("latin-1")[:40]
            raise BrokenBody(f"Content-Encoding {text} cannot be inspected", 415)
        data, complete = _inflate(data, name, limit)
        if whole and not complete and len(data) < limit:
            raise BrokenBody("the compressed body is truncated")
        whole = whole and complete
    return data[:limit], whole and len(data) <= limit


def _inflate(data: bytes, name: bytes, limit: int) -> tuple[bytes, bool]:
    out, complete = b"", False
    raw = name == b"deflate" and not (data[:1] and data[0] & 15 == 8)
    members = 0
    while data and len(out) <= limit:
        members += 1
        if members > (1 if name == b"deflate" else MOST_MEMBERS):
            raise BrokenBody("data follows the end of the compressed body")
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
    """Return the arguments of a body. ``whole``: it is complete; otherwise its end is missing.

    Raises BrokenBody if the body does not match its type.
    """
    kind = _kind(content_type)
    data = in_utf8(data, content_type)
    if kind == _FORM:
        return pairs_of(data)
    if kind == b"multipart/form-data":
        return _multipart(data, content_type, whole)
    if kind == b"application/json" or kind.endswith(b"+json"):
        return _json(data) if whole and data.strip() else _text(data)
    found = _text(data)
    if not kind and found:  # some servers treat it as a form
        found = pairs_of(data) + found
    return found


def _kind(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower()


def in_utf8(data: bytes, content_type: bytes) -> bytes:
    """Return the body in UTF-8, converted from its charset. Raises BrokenBody for an unknown
    charset.
    """
    found = _CHARSET.search(content_type)
    name = b"" if found is None else found[1].lower()
    kind = _kind(content_type)
    if name in _UTF8:
        data = _marked(data)
    else:
        # the letters of a form are escaped in its charset; its separators are ASCII
        data = _in_charset(data, name, ascii_only=kind == _FORM)
    return _declared(data) if kind.endswith((b"/xml", b"+xml")) else data


def _in_charset(data: bytes, name: bytes, *, ascii_only: bool = False) -> bytes:
    text = name.decode("latin-1")
    try:
        codec = codecs.lookup(text)
        if not codec._is_text_encoding or codec.name in ("idna", "punycode", "undefined"):
            raise LookupError
        if ascii_only and _ASCII.decode(text, "replace") != _ASCII.decode():
            raise BrokenBody(f"charset {text} of a form cannot be inspected", 415)
        return data.decode(text, "replace").encode("utf-8", "replace")
    except BrokenBody:
        raise
    except (LookupError, ValueError):
        raise BrokenBody(f"charset {text} is unknown", 415) from None


def _marked(data: bytes) -> bytes:
    """Decode UTF-16 and UTF-32 with a byte order mark."""
    if data[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.removeprefix(codecs.BOM_UTF8)
    name = "utf-32" if data[:4] == codecs.BOM_UTF32_LE else "utf-16"
    return data.decode(name, "replace").encode("utf-8", "replace")


def _declared(data: bytes) -> bytes:
    """Decode XML whose first bytes or declaration show its encoding."""
    for begin, name in _WIDE_XML:
        if data.startswith(begin):
            data = data.decode(name, "replace").encode("utf-8", "replace")
            break
    found = _DECLARED.match(data)
    if found is None or found[3].lower() in _UTF8:
        return data
    name_there = found[3].lower()
    data = data[: found.start(2)] + b" " * len(found[2]) + data[found.end(2) :]
    if name_there.startswith((b"utf-16", b"utf-32", b"ucs", b"iso-10646-ucs")) or name_there in (
        b"cp037",
        b"ibm037",
    ):
        return data  # its first bytes have shown the encoding
    return _in_charset(data, name_there)


def _text(data: bytes) -> list[Part]:
    """Return the lines of a text as one value; nothing for binary data."""
    if not data or b"\0" in data[:1024]:
        return []
    return [("BODY", one_line(data))]


def _json(data: bytes) -> list[Part]:
    found: list[Part] = []
    more: list[bytes] = []
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
                    text = _bytes(full if "proto" in name else name)
                    if len(found) < MOST_LEAVES:
                        found.append((f"ARGS_NAMES:{name[:100]}", text))
                    else:
                        more.append(text)
            continue
        argument = f"ARGS:{label}"
        for item in one if isinstance(one, list) else (one,):
            if isinstance(item, _Members | list):
                todo.append((label, item))
            elif not item or not isinstance(item, str):
                continue
            elif len(found) >= MOST_LEAVES:
                more.append(_bytes(item))
            elif "\n" in item or "\0" in item:
                found += [(argument, line) for line in spellings(_utf8(item))]
            else:
                found.append((argument, _utf8(item)))
    if more:
        found.append(("BODY", b"\n".join(more)))
    return found


class _Members:
    """An object with all its members. Of repeated names, servers differ in which one they use."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _bytes(text: str) -> bytes:
    return one_line(_utf8(text))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _multipart(data: bytes, content_type: bytes, whole: bool) -> list[Part]:
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BrokenBody("multipart without a boundary")
    if b"boundary" in (content_type[: found.start()] + content_type[found.end() :]).lower():
        raise BrokenBody("multipart with two boundaries")
    boundary = found[1] if found[1] is not None else found[2]
    # servers search for it at the beginning of a line, so that it ends nothing inside a line
    pieces = (b"\n" + data).split(b"\n--" + boundary, MOST_PARTS)
    rest = pieces.pop() if len(pieces) > MOST_PARTS else None
    if whole and rest is None and (len(pieces) < 2 or pieces[-1][:2] != b"--"):
        raise BrokenBody("multipart without its last boundary")
    ended = pieces[1:] if rest is not None else pieces[1:-1]
    if len({piece.endswith(b"\r") for piece in ended}) > 1:
        raise BrokenBody("multipart with two kinds of line ends")
    parts: list[Part] = [("BODY", one_line(pieces[0]))] if pieces[0].strip() else []
    for place, piece in enumerate(pieces[1:], start=2):
        if piece[:2] != b"--":
            _add_part(piece, parts, whole)
        elif piece[2:].strip() or place < len(pieces) or rest is not None:
            raise BrokenBody("data follows the last multipart boundary")
    if rest is not None:
        parts.append(("BODY", one_line(rest)))
    return parts


def _add_part(piece: bytes, parts: list[Part], whole: bool) -> None:
    ends = [(at, size) for end, size in ((b"\r\n\r\n", 4), (b"\n\n", 2))
            if (at := piece.find(end)) >= 0]  # fmt: skip
    head, content = piece, b""
    if ends:
        at, size = min(ends)
        head, content = piece[:at], piece[at + size :]
    known = _part_head(head)
    disposition = known.get(b"content-disposition", [])
    found = _PARAMETER.findall(disposition[0]) if len(disposition) == 1 else []
    labels = _values(found, b"name")
    if not ends or not labels:
        if whole:
            raise BrokenBody("a part of multipart without a name")
        return
    for coding in known.get(b"content-transfer-encoding", ()):
        if coding.strip().lower() not in _PLAIN_CODINGS:
            raise BrokenBody("the transfer encoding of a part cannot be inspected", 415)
    content = content.removesuffix(b"\r")
    for kind in known.get(b"content-type", ()):
        if _CHARSET.search(kind):
            content = in_utf8(content, kind)
    label, files = labels[0], _values(found, b"filename")
    if not any(files):  # some servers treat a part with an empty file name as a field
        add_argument(parts, label, content)
        return
    add_argument(parts, label, b"")
    text = label.decode("utf-8", "replace")[:100]
    for name in files:
        parts.append((f"FILES_NAMES:{text}", b"filename=" + one_line(name)))
    if b"\0" not in content[:1024]:
        parts.append((f"FILES:{text}", one_line(content)))


def _part_head(head: bytes) -> dict[bytes, list[bytes]]:
    """Return the headers of a part by their names in lower case."""
    found: dict[bytes, list[bytes]] = {}
    for line in _FOLD.sub(b" ", head).split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon:
            found.setdefault(name.strip().lower(), []).append(value)
    return found


def _values(parameters: list[tuple[bytes, bytes, bytes]], name: bytes) -> list[bytes]:
    names = (name, name + b"*")
    return [(one or other.strip()) for key, one, other in parameters if key.lower() in names]
