"""PURE. Parses the target URL and the parameters of a request to the CORS proxy.

Four forms name the target (key ``forms``):

========== ============================================ ==================================
form       example                                      as in
========== ============================================ ==================================
``query``  ``/?url=https%3A%2F%2Fhost%2Fpath&key=K``    corsproxy.io
``query``  ``/?https%3A%2F%2Fhost%2Fpath``              corsproxy.io, its older form
``path``   ``/https://host/path?query``, ``/host/path`` cors-anywhere
``header`` ``X-Target-URL: https://host/path``          the header of ``target_header``
========== ============================================ ==================================

A URL in a query that is not percent-encoded ends where a parameter of the proxy begins. A key is
therefore never part of the forwarded URL. The forms ``path`` and ``header`` take the whole URL and
no parameters, so that parameters of the target keep their meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import unquote, unquote_plus

from attrs import field, frozen

from lbproxy.cors.convert import INPUTS, checked_selector
from lbproxy.cors.redirects import location_text
from lbproxy.http.syntax import is_token

__all__ = ["FORMS", "OWN_PAGES", "Call", "CallError", "masked_target", "parse_call"]

FORMS: Final = ("query", "path", "header")
OWN_PAGES: Final = frozenset(("/", "/status", "/favicon.ico", "/robots.txt"))
"""Paths that are never a host name."""

FIELDS_MAX: Final = 32
"""Maximum number of ``reqHeaders`` or ``resHeaders`` in one call."""

TTL_MAX: Final = 365 * 86400

_OWN: Final = frozenset(
    (
        *("url", "key", "colo", "reqHeaders", "resHeaders", "ttl"),
        *("extract", "selector", "convert", "input", "output"),
    )
)
# APIs also use parameters with these names
_ENDS: Final = sorted(_OWN - {"selector", "input", "output"})
_REPEATABLE: Final = frozenset(("reqHeaders", "resHeaders"))
_SCHEME: Final = re.compile(r"(?i)(?:https?|wss?)(:|%3A)")
_PAIR: Final = r"input=(?:csv|xml|rss)&output=json|output=json&input=(?:csv|xml|rss)"
_OWN_NEXT: Final = re.compile(rf"&(?=(?:(?:{'|'.join(_ENDS)})(?:[=&]|\Z))|(?:{_PAIR})(?:&|\Z))")
_HOST: Final = re.compile(r"[^/?#@]+\.[^/?#@]+|\[[^/?#@]+\](?::[0-9]+)?|[^/?#@:]+:[0-9]+")
_KEY: Final = re.compile(rb"([?&]key=)[^&#]*")

Fields = tuple[tuple[str, str], ...]


class CallError(ValueError):
    """A call that cannot be parsed. The message is for its author."""


@frozen
class Call:
    """A call of the proxy.

    ``key`` is excluded from the representation. ``ttl``: seconds, None if not set. ``req_headers``
    and ``res_headers``: (name, value) pairs; an empty value removes the field. ``convert``: one of
    :data:`~lbproxy.cors.convert.INPUTS`. ``extract``: a CSS selector. Both are "" if not set.
    """

    url: str
    key: str = field(default="", repr=False)
    colo: str = ""
    ttl: int | None = None
    req_headers: Fields = ()
    res_headers: Fields = ()
    convert: str = ""
    extract: str = ""


def parse_call(
    target: bytes,
    header: Callable[[bytes], bytes | None],
    *,
    forms: Collection[str] = FORMS,
    target_header: str = "X-Target-URL",
    key_header: str = "X-Api-Key",
) -> Call | None:
    """Return the call in a request with this ``target``, None if it contains no URL.

    ``header(name)`` returns the first value of a request header, or None. A key in the header
    ``key_header`` takes precedence over the parameter ``key``. Raises :class:`CallError`.
    """
    text = target.decode("latin-1")
    path, mark, query = text.partition("?")
    key = _text(header(key_header.encode("ascii")))
    given = header(target_header.encode("ascii")) if "header" in forms else None
    named = "" if given is None else location_text(given).strip()
    if named:
        return Call(named, key)
    if path == "/":
        return _from_query(query, key) if mark and "query" in forms else None
    if "path" in forms and path not in OWN_PAGES:
        return _from_path(text[1:], key)
    return None


def masked_target(target: bytes) -> bytes:
    """Return ``target`` for a log: the value of each parameter ``key`` is replaced by ``***``."""
    return _KEY.sub(rb"\1***", target) if b"key=" in target else target


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("latin-1").strip()


def _from_query(query: str, key: str) -> Call | None:
    if _SCHEME.match(query):
        query = f"url={query}"
    found = _parameters(query)
    if "url" not in found:
        return None
    return Call(
        url=found["url"][0],
        key=key or found.get("key", [""])[0],
        colo=found.get("colo", [""])[0],
        ttl=_ttl(found.get("ttl")),
        req_headers=_fields("reqHeaders", found),
        res_headers=_fields("resHeaders", found),
        convert=_convert(found),
        extract=_extract(found),
    )


def _convert(found: dict[str, list[str]]) -> str:
    """Return the value of ``convert=csv``, or of ``input=csv&output=json`` as in corsproxy.io."""
    if found.get("output", ["json"])[0] != "json":
        raise CallError("the only output is json")
    kind = (found.get("convert") or found.get("input") or [""])[0].lower()
    if kind and kind not in INPUTS:
        raise CallError(f"convert is one of {', '.join(INPUTS)}")
    return kind


def _extract(found: dict[str, list[str]]) -> str:
    """Return the selector of ``extract=SELECTOR``, or of ``extract=1&selector=SELECTOR`` as in
    corsproxy.io.
    """
    text = found.get("selector", [""])[0] or found.get("extract", [""])[0]
    if "extract" not in found or text in ("", "0", "1", "true", "false"):
        if "extract" in found:
            raise CallError("extract needs a CSS selector")
        return ""
    if "convert" in found or "input" in found:
        raise CallError("extract and convert do not go together")
    try:
        return checked_selector(text)
    except ValueError as error:
        raise CallError(str(error)) from None


def _parameters(query: str) -> dict[str, list[str]]:
    """Return the proxy's parameters in a query, decoded."""
    found: dict[str, list[str]] = {}
    rest = query
    while rest:
        name, _, after = rest.partition("=")
        if name == "url" and _is_plain(after):
            value, rest = _cut(_OWN_NEXT, after)
        else:
            part, _, rest = rest.partition("&")
            name, _, raw = part.partition("=")
            value = _decoded_url(raw) if name == "url" else unquote_plus(raw)
        if not name:
            continue
        if name not in _OWN:
            raise CallError(
                f"unknown parameter {name[:40]!r}; percent-encode the URL if it is part of it"
            )
        if name in found and name not in _REPEATABLE:
            raise CallError(f"the parameter {name} appears twice")
        found.setdefault(name, []).append(value)
    return found


def _is_plain(value: str) -> bool:
    """Return whether the URL at the start of ``value`` is not percent-encoded."""
    scheme = _SCHEME.match(value)
    return scheme is not None and scheme[1] == ":" and value.startswith("//", scheme.end())


def _cut(end: re.Pattern[str], text: str) -> tuple[str, str]:
    """Return ``text`` before and after the first match of ``end``."""
    found = end.search(text)
    return (text, "") if found is None else (text[: found.start()], text[found.end() :])


def _decoded_url(raw: str) -> str:
    try:
        url = unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise CallError("the URL is not UTF-8") from None
    if not url:
        raise CallError("the parameter url is empty")
    return url


def _from_path(text: str, key: str) -> Call | None:
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1] != ":":
        return Call(_decoded_url(text), key)
    if scheme is not None and text.startswith("//", scheme.end()):
        return Call(text, key)
    if scheme is not None and text.startswith("/", scheme.end()):
        # a proxy in front has merged the slashes
        return Call(f"{text[: scheme.end()]}/{text[scheme.end() :]}", key)
    text = text.removeprefix("/")
    host = _HOST.match(text)
    if host is None or text[host.end() : host.end() + 1] not in ("", "/", "?"):
        return None
    secure = host[0].endswith(":443")
    return Call(f"{'https' if secure else 'http'}://{text}", key)


def _ttl(values: list[str] | None) -> int | None:
    if values is None:
        return None
    text = values[0]
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > TTL_MAX:
        raise CallError(f"ttl must be a number of seconds, at most {TTL_MAX}")
    return int(text)


def _fields(name: str, found: dict[str, list[str]]) -> Fields:
    values = found.get(name, [])
    if len(values) > FIELDS_MAX:
        raise CallError(f"more than {FIELDS_MAX} {name}")
    return tuple(_field(name, one) for one in values)


def _field(name: str, text: str) -> tuple[str, str]:
    """Return ``text`` as the name and the value of a header field."""
    field_name, colon, value = text.partition(":")
    field_name, value = field_name.strip(), value.strip()
    if not colon or not is_token(field_name.encode("utf-8")):
        raise CallError(f"{name} must be NAME:VALUE, with the name of a header field")
    if not re.fullmatch(r"[\t\x20-\x7e]*", value):
        raise CallError(f"{name}: the value of {field_name} contains characters that are not ASCII")
    return field_name, value
