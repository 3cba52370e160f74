"""PURE. ``[egress NAME]``: the exits of CORS proxies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from lbproxy.config.draft import Draft
from lbproxy.config.model import NOWHERE, Where, hidden, option
from lbproxy.config.section import Judge, Section
from lbproxy.http.syntax import is_token

__all__ = ["EGRESS", "EgressSpec", "ExitNames", "exit_url"]

_WAYS: Final = ("source", "interface", "proxy", "lbproxy")
_OF_WAYS: Final = {
    "proxy_user": "proxy",
    "api_key": "lbproxy",
    "ca": "lbproxy",
    "key_header": "lbproxy",
    "target_header": "lbproxy",
}
_PORTS: Final = {"http": 8080, "socks5": 1080, "https": 443}
_INTERFACE: Final = re.compile(r"[^\s/]{1,15}")


def _secret(doc: str) -> Any:
    """Return a configuration key whose value is never shown."""
    made = option("string", "", secret=True, doc=doc)
    made.repr = False
    return made


@frozen
class EgressSpec:
    """The keys of the section."""

    name: str = option("hidden", "", doc="section name")
    source: str = option(
        "string", "", doc="local address that connections come from", example="192.0.2.7"
    )
    interface: str = option("string", "", doc="network interface that connections use")
    proxy: str = option(
        "string",
        "",
        doc="``http://HOST:PORT`` (CONNECT) or ``socks5://HOST:PORT``; it is asked for the address"
        " that was judged",
        example="socks5://127.0.0.1:1080",
    )
    proxy_user: str = option("string", "", doc="user at the proxy")
    proxy_password: str = _secret("password at the proxy")
    lbproxy: str = option(
        "string",
        "",
        doc="``https://HOST[:PORT]`` of the CORS proxy of another lbproxy, which fetches targets",
        example="https://fra.example.com",
    )
    api_key: str = _secret("API key at the other lbproxy")
    ca: str = option(
        "path",
        "",
        doc="PEM file or folder of the authorities that the other lbproxy is verified with; empty:"
        " the system's",
    )
    key_header: str = option(
        "string", "X-Api-Key", doc="header that holds the key at the other lbproxy"
    )
    target_header: str = option(
        "string", "X-Target-URL", doc="header that names the target at the other lbproxy"
    )
    alias: tuple[str, ...] = option(
        "list:string", (), doc="further names, such as those of data centres", example="ams cdg"
    )
    where: Where = hidden(NOWHERE)

    @property
    def way(self) -> str:
        """The key that selects how connections leave."""
        return next(key for key in _WAYS if getattr(self, key))


class ExitNames:
    """The allowed names of ``colo=``. ``default``: the exit of calls without it.

    ``rows``: name, further names and way of each exit. Raises ValueError for a duplicate name, or
    an unknown ``default``.
    """

    def __init__(self, specs: Iterable[EgressSpec], default: str = "") -> None:
        self.rows: list[tuple[str, tuple[str, ...], str]] = []
        self._names: dict[str, str] = {}
        for spec in specs:
            for name in (spec.name, *spec.alias):
                if name.lower() in self._names:
                    raise ValueError(f"two exits have the name {name!r}")
                self._names[name.lower()] = spec.name
            self.rows.append((spec.name, spec.alias, spec.way))
        if default and default.lower() not in self._names:
            raise ValueError(f"there is no [egress {default}]")
        self._default = self._names[default.lower()] if default else ""

    def find(self, name: str) -> str | None:
        """Return the name of the exit of a call, "" for the direct way, None if it is unknown.

        Without any section, every name means the direct way.
        """
        if not name or not self._names:
            return self._default
        return self._names.get(name.lower())


def exit_url(text: str) -> tuple[str, str, int]:
    """Return scheme, host and port of ``proxy`` or ``lbproxy``. Raises ValueError."""
    parts = urlsplit(text)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if not parts.hostname or not port or parts.username or parts.path.strip("/") or parts.query:
        raise ValueError(f"{text!r} is not SCHEME://HOST:PORT")
    return parts.scheme, parts.hostname, port


def _check(draft: Draft, judge: Judge) -> None:
    written = [key for key in _WAYS if draft.get(key, "")]
    if len(written) != 1:
        words = "an exit has exactly one of 'source', 'interface', 'proxy' and 'lbproxy'"
        judge.wrong(draft, draft.where, "", words)
        return
    key = written[0]
    try:
        _check_way(key, draft.get(key, ""))
        for other, way in _OF_WAYS.items():
            if draft.get(other, "") and key != way:
                key = other
                raise ValueError(f"{other} is for exits by {way}")
        for other in ("key_header", "target_header"):
            name = draft.get(other, "")
            if name and not is_token(name.encode("utf-8")):
                key = other
                raise ValueError(f"{name!r} is not the name of a header")
    except ValueError as error:
        judge.wrong(draft, draft.line(key), key, str(error))


def _check_way(key: str, value: str) -> None:
    if key == "source":
        ip_address(value)
    elif key == "interface":
        if not _INTERFACE.fullmatch(value):
            raise ValueError(f"{value!r} is no name of an interface")
    elif exit_url(value)[0] not in (("http", "socks5") if key == "proxy" else ("https",)):
        allowed = "http://HOST:PORT or socks5://HOST:PORT" if key == "proxy" else "https://HOST"
        raise ValueError(f"{value!r} is no such exit: write {allowed}")


EGRESS = Section(
    "egress",
    EgressSpec,
    doc="An exit of CORS proxies, which calls choose by ``colo=NAME``.",
    plural="exits",
    check=_check,
)
