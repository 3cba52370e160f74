"""PURE. The forms of a text for patterns: the result of a server's decoding, in one spelling.

A text consists of any number of values, one per line. No transformation adds or removes a line
feed, so that the number of a line identifies its value in every form. All transformations take time
linear in the text.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from lbproxy.waf.rule import View

__all__ = ["decoded", "one_line", "spellings", "unquoted", "view_of"]

ROUNDS: Final = 3
"""Maximum number of nested encodings that are undone."""

MANY: Final = 2000
"""Number of percent signs from which codes are replaced one kind after the other, which is
faster.
"""

LONGEST_NAME: Final = 4096
"""Bytes of the name of a file; Linux has no longer ones."""

LONGEST_COMMAND: Final = 1000
"""Bytes of a second line that are checked as a command; rules examine its beginning."""

_CODE: Final = re.compile(rb"%([0-9a-fA-F]{2})")
_BLANKS: Final = bytes.maketrans(b"\t\r\v\f", b"    ")
_LINE: Final = bytes.maketrans(b"\n", b" ")
_RUNS: Final = re.compile(rb" {2,}")
_NUMBER: Final = re.compile(rb"&#(?:x0*([0-9a-f]{1,6})|0*([0-9]{1,7}));?")
_ESCAPE: Final = re.compile(rb"\\u(?:([0-9a-f]{4})|\{0*([0-9a-f]{1,6})\})|\\x([0-9a-f]{2})")
_PERCENT_U: Final = re.compile(rb"%u([0-9a-f]{4})")
_COMMENT: Final = re.compile(rb"/\*(?:!\d*)?|\*/")
_HOST: Final = re.compile(rb"[\d.:]*|[\w-]+(?:\.[\w-]+)+")
"""First line of a value whose second line may be a command."""

_BODY: Final = re.compile(rb"/\*[^!\n*][^\n*]*\*+/|/\*\*+/")
_SHELL: Final = re.compile(rb"\$\{ifs\}|\$ifs(?:\$[0-9])?")
_DOTS: Final = re.compile(rb"(?:/\.)+/")
_WIDE: Final = re.compile("[\uff01-\uff5e\ufe50-\ufe6b\u2024-\u2026\U0001d400-\U0001d7ff]+")
_NAMED: Final = (
    (b"&lt;", b"<"),
    (b"&gt;", b">"),
    (b"&quot;", b'"'),
    (b"&apos;", b"'"),
    (b"&colon;", b":"),
    (b"&lpar;", b"("),
    (b"&rpar;", b")"),
    (b"&tab;", b" "),
    (b"&newline;", b" "),
    (b"&sol;", b"/"),
    (b"&nbsp;", b" "),
    (b"&bsol;", b"\\"),
    (b"&lbrace;", b"{"),
    (b"&rbrace;", b"}"),
    (b"&lcub;", b"{"),
    (b"&rcub;", b"}"),
    (b"&lsqb;", b"["),
    (b"&rsqb;", b"]"),
    (b"&semi;", b";"),
    (b"&period;", b"."),
    (b"&comma;", b","),
    (b"&num;", b"#"),
    (b"&dollar;", b"$"),
    (b"&verbar;", b"|"),
    (b"&diacriticalgrave;", b"`"),
    (b"&equals;", b"="),
    (b"&grave;", b"`"),
    (b"&amp;", b"&"),
)
_UNENDED: Final = re.compile(rb"&(lt|gt|quot)(?!\w*=)")
_OVERLONG: Final = re.compile(
    rb"[\xc0\xc1]([\x80-\xbf])|\xe0([\x80\x81])([\x80-\xbf])|\xf0\x80([\x80\x81])([\x80-\xbf])"
)


def one_line(value: bytes) -> bytes:
    """Return a value as one line."""
    return value.translate(_LINE)


def spellings(value: bytes) -> list[bytes]:
    """Return a value as one line, and what interpreters for which lines or NUL matter make of it.

    SQL ends comments with a line, a shell commands, and a file system names with NUL."""
    found = [one_line(value)]
    if b"\0" in value:
        found.append(one_line(value[:LONGEST_NAME].partition(b"\0")[0]))
    if b"\n" in value:
        if b"--" in value or b"#" in value:
            found.append(_without_comments(value))
        first = value.partition(b"\n")[0].strip()
        if _HOST.fullmatch(first):
            more = [line for one in value.split(b"\n", 5)[1:] if (line := one.strip())]
            if len(more) == 1:
                found.append(first + b";" + more[0][:LONGEST_COMMAND].translate(_LINE))
    return found


def _without_comments(value: bytes) -> bytes:
    """Return a value as one line, without the comments at the ends of its lines.

    It does not use a pattern, which would search for the end of a comment again at each mark of a
    last line.
    """
    lines = value.split(b"\n")
    ended = [line.partition(b"#")[0].partition(b"--")[0] for line in lines[:-1]]
    return b" ".join((*ended, lines[-1]))


def decoded(text: bytes) -> bytes:
    """Return ``text`` in lower case with the usual encodings undone, blanks joined, NUL dropped."""
    text = text.lower()
    for _ in range(ROUNDS):
        before = text
        if b"%" in text:
            text = _percent(text)
        if b"&" in text:
            text = _entities(text)
        if b"\\" in text:
            text = _ESCAPE.sub(_escaped, text)
        if text == before:
            break
        text = text.lower()
    if not text.isascii():
        text = _plain_letters(text)
    return _blanks(text)


def _blanks(text: bytes) -> bytes:
    return _RUNS.sub(b" ", text.translate(_BLANKS, b"\0"))


def _percent(text: bytes) -> bytes:
    if b"%u" in text:
        text = _PERCENT_U.sub(_escaped, text)
    return unquoted(text.replace(b"%0a", b"%20"))


def unquoted(text: bytes) -> bytes:
    """Undo percent-encoding once. With many codes, some codes that result from others are undone
    too.
    """
    if text.count(b"%") < MANY:
        return unquote_to_bytes(text)
    for code in sorted(set(_CODE.findall(text)), reverse=True):
        text = text.replace(b"%" + code, bytes((int(code, 16),)))
    return text


def _entities(text: bytes) -> bytes:
    if b"&#" in text:
        text = _NUMBER.sub(_numbered, text)
    for name, letter in _NAMED:
        text = text.replace(name, letter)
    return _UNENDED.sub(_unended, text)


def _unended(found: re.Match[bytes]) -> bytes:
    return {b"lt": b"<", b"gt": b">", b"quot": b'"'}[found[1]]


def _numbered(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    return _letter(digits, 16) if digits is not None else _letter(found[2], 10)


def _escaped(found: re.Match[bytes]) -> bytes:
    return _letter(found[found.lastindex or 0], 16)


@lru_cache(maxsize=4096)
def _letter(digits: bytes, base: int) -> bytes:
    number = int(digits, base)
    if number == 10:
        return b" "
    return chr(number).encode("utf-8", "replace") if number < 0x110000 else b"?"


def _plain_letters(text: bytes) -> bytes:
    """Replace letters of other widths and overlong forms by ASCII."""
    text = _OVERLONG.sub(_short, text)
    letters = text.decode("utf-8", "surrogateescape")
    normal = _WIDE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), letters)
    normal = normal.replace("\u2215", "/").replace("\u2216", "\\")
    found = normal.lower().encode("utf-8", "surrogateescape")
    return found if found.count(b"\n") == text.count(b"\n") else text


def _short(found: re.Match[bytes]) -> bytes:
    """Return the ASCII letter for an overlong form of UTF-8."""
    return _ascii(found[0])


@lru_cache(maxsize=512)
def _ascii(form: bytes) -> bytes:
    letter = (form[-2] & 1) << 6 | form[-1] & 63
    return b" " if letter == 10 else bytes((letter,)).lower()


def view_of(view: View, text: bytes) -> bytes:
    """Return :func:`decoded` text in the form for rules of ``view``."""
    if view is View.SQL:
        return _sql(text)
    if view is View.SHELL:
        return _shell(text)
    if view is View.FILE:
        return _file(text)
    return text


def _sql(text: bytes) -> bytes:
    if b"/*" in text:
        text = _RUNS.sub(b" ", _COMMENT.sub(b" ", _BODY.sub(b" ", text)))
    return text


def _shell(text: bytes) -> bytes:
    if b"$ifs" in text or b"${ifs" in text:
        text = _SHELL.sub(b" ", text)
    text = text.translate(None, b"'\"\\^")
    if b"$" in text:
        text = text.replace(b"$@", b"").replace(b"$*", b"")
    return _RUNS.sub(b" ", text)


def _file(text: bytes) -> bytes:
    if b"\\" in text:
        text = text.replace(b"\\", b"/")
    if b"/./" in text:
        text = _DOTS.sub(b"/", text)
    while b"//" in text:  # each turn halves a run
        text = text.replace(b"//", b"/")
    if b" " in text:  # many applications trim values
        text = text.replace(b" \n", b"\n").replace(b"\n ", b"\n").strip(b" ")
    return text
