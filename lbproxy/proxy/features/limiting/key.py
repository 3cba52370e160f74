"""PURE. Keys of limits: text with variables, in which a client's address is reduced to its
prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any
from urllib.parse import unquote_to_bytes

from lbproxy.errors import Kind, ProxyError
from lbproxy.guard.addresses import V4_BASE, address_number
from lbproxy.http.escape import Escaper
from lbproxy.http.paths import normal_path
from lbproxy.http.place import Variable
from lbproxy.http.template import Template

__all__ = ["MOST", "TCP_VARIABLES", "FunctionKey", "Key", "prefix_of"]

TCP_VARIABLES = frozenset({"client_ip", "client_port", "frontend", "sni", "country", "asn"})
"""Variables available for a connection without a request."""

MOST = 8
"""Maximum number of keys of a request."""

_SHOWN = 4  # maximum shown length of a key that may be a secret


@lru_cache(4096)
def prefix_of(ip: str, lengths: tuple[int, int]) -> str:
    """Return the first address of the prefix of ``ip``; "" if it is not an address.

    An IPv4-mapped IPv6 address is an IPv4 address.
    """
    number = address_number(ip)
    if number < 0:
        return ""
    if number >= V4_BASE:
        rest = 32 - lengths[0]
        v4 = number - V4_BASE >> rest << rest
        return f"{v4 >> 24}.{v4 >> 16 & 255}.{v4 >> 8 & 255}.{v4 & 255}"
    rest = 128 - lengths[1]
    return f"{number >> rest << rest:032x}"


class Key:
    """``variables``: the names in the text.  ``is_address``: it is the client's address alone.
    Raises ValueError as :class:`Template`.

    Values with the same meaning for servers are one key: a path in another spelling, a host with a
    port, escapes in the query.
    """

    def __init__(self, text: str, lengths: tuple[int, int]) -> None:
        self._lengths = lengths
        self._fields: list[str] = []
        self._chosen: dict[str, bytes] = {}
        found: set[str] = set()

        def place(variable: Variable) -> Escaper:
            name = variable.name
            found.add(name)
            if ":" in name:
                self._fields.append(name)
                return lambda raw: self._chosen.get(name, b"")
            return self._prefix if name == "client_ip" else _SAME.get(name, bytes)

        self._template = Template(text, place=place, early=True)
        if "backend" in found:
            raise ValueError("{backend} is not known before the route: use limits= of the route")
        if not text.strip():
            raise ValueError("an empty key limits nothing")
        self.variables = frozenset(found)
        self._fields = list(dict.fromkeys(self._fields))
        self.is_address = text == "{client_ip}"
        self._secret = bool(self._fields)

    def all_of(self, traffic: Any) -> list[str]:
        """Return the keys of a request, a session or a connection; "" if its variables are empty.

        There are several if a header, a cookie or a query parameter occurs with several values,
        because servers differ in which one they use. Raises ProxyError BAD_REQUEST for more than
        :data:`MOST`, and for an ambiguous path.
        """
        if self.is_address:
            return [prefix_of(traffic.client_ip, self._lengths)]
        if not self._fields:
            return [self._render(traffic)]
        values = [_values(traffic.request, name) for name in self._fields]
        if len(values) == 1 and len(values[0]) == 1:
            self._chosen = {self._fields[0]: values[0][0]}
            return [self._render(traffic)]
        if prod(map(len, values)) > MOST:
            raise ProxyError(Kind.BAD_REQUEST, f"{{{self._fields[0]}}} has too many values")
        keys: dict[str, None] = {}
        for chosen in product(*values):
            self._chosen = dict(zip(self._fields, chosen, strict=True))
            keys[self._render(traffic)] = None
        return list(keys)

    def written(self, text: str) -> str:
        """Return the key that people write as ``text``: an address, or the text of the key."""
        return prefix_of(text, self._lengths) or text if self.is_address else text

    def _render(self, traffic: Any) -> str:
        return self._template.render(traffic).strip().decode("utf-8", "replace")

    def shown(self, key: str) -> str:
        """Return a key for people: one from a header, a cookie or the query is cut short."""
        if self.is_address and len(key) == 32 and "." not in key:
            return ":".join(key[at : at + 4].lstrip("0") or "0" for at in range(0, 32, 4))
        return key[:_SHOWN] + "…" if self._secret and len(key) > _SHOWN else key

    def _prefix(self, raw: bytes) -> bytes:
        return prefix_of(raw.decode("ascii", "replace"), self._lengths).encode()


class FunctionKey(Key):
    """The key that a Python function returns for a request or a session.

    The function gets the ``traffic`` of filters and returns a text, or None for no key.  TypeError
    for another result.
    """

    def __init__(self, function: Callable[[Any], Any], lengths: tuple[int, int]) -> None:
        super().__init__("{client_ip}", lengths)
        self.variables = TCP_VARIABLES  # it may be asked about sessions
        self.is_address = False
        self._secret = True
        self._function = function

    def all_of(self, traffic: Any) -> list[str]:
        """See :class:`Key`; one key, or "" for None."""
        found = self._function(traffic)
        if isinstance(found, bytes):
            found = found.decode("utf-8", "replace")
        if found is not None and not isinstance(found, str):
            raise TypeError(f"the key is a {type(found).__name__}, and no text")
        # lone surrogates cannot be written to a log or a terminal
        return [str(found or "").encode("utf-8", "replace").decode().strip()]


def _values(request: Any, variable: str) -> list[bytes]:
    """Return the values of ``header:NAME``, ``cookie:NAME`` or ``query:NAME``, each once; at least
    one.
    """
    kind, _, name = variable.partition(":")
    raw = name.encode("ascii")
    if kind == "header":
        found = request.header_values(raw)
    elif kind == "cookie":
        found = request.cookies(raw)
    else:
        pairs = [part.partition(b"=") for part in request.query.split(b"&")]
        found = [_unquoted(value) for key, _, value in pairs if _unquoted(key) == raw]
    return list(dict.fromkeys(one.strip() for one in found)) or [b""]


def _unquoted(text: bytes) -> bytes:
    if text.find(b"%") < 0 and text.find(b"+") < 0:
        return text
    return unquote_to_bytes(text.replace(b"+", b" "))


def _path(raw: bytes) -> bytes:
    path = normal_path(raw)
    if path is None:
        raise ProxyError(Kind.BAD_REQUEST, "ambiguous path, or one that leaves the root")
    return path


def _uri(raw: bytes) -> bytes:
    path, mark, query = raw.partition(b"?")
    return _path(path) + mark + query


def _host(raw: bytes) -> bytes:
    head, colon, port = raw.rpartition(b":")
    if colon and not port.endswith(b"]"):
        raw = head
    return raw.rstrip(b".")


_SAME: Mapping[str, Escaper] = {"path": _path, "uri": _uri, "host": _host}
