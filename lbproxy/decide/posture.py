"""CONTROL. The open points of a configuration, for ``lbproxy check --security``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any, Final

from attrs import frozen

from lbproxy.model import Address, BackendSpec, Config, FrontendSpec, Where, read_redis_url
from lbproxy.proxy.features.banning.spec import BanSpec
from lbproxy.proxy.features.listing.spec import ListSpec
from lbproxy.proxy.features.waf.spec import WafSpec

__all__ = ["OpenPoint", "open_points"]

_WEAK: Final = re.compile(r"(?:^|[:,+ ])(?:ALL|aNULL|eNULL|NULL|EXP|RC4|3DES|DES|MD5|LOW|SHA1?)\b")

LONG_S: Final = 60.0
"""Seconds from which on a deadline of clients is long."""


@frozen
class OpenPoint:
    """One thing that is open, and what closes it."""

    where: Where
    section: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: [{self.section}] {self.key}: {self.text}"

    def as_dict(self) -> dict[str, Any]:
        """Return the point as JSON types."""
        place = {"file": self.where.file, "line": self.where.line}
        return {**place, "section": self.section, "key": self.key, "message": self.text}


def open_points(config: Config) -> list[OpenPoint]:
    """Return what is open, in the order of the configuration."""
    found = [*_admin(config), *_shared(config), *_forgets(config)]
    for frontend in config.frontends:
        found += _frontend(frontend, config)
    for backend in config.backends:
        found += _backend(backend)
    return found


def _shared(config: Config) -> Iterator[OpenPoint]:
    """The store that other nodes write to."""
    spec = config.shared
    if not spec.on:
        return
    place = read_redis_url(spec.redis)
    local = all(_is_local(one) for one in place.addresses)
    if not local and not place.tls:
        text = "bans and lists go to Redis in plain text: use rediss:// or a trusted network"
        yield OpenPoint(spec.where, "shared", "redis", text)
    if not local and not (place.password or spec.password_file):
        text = "whoever reaches Redis may ban clients and lift bans: set a password"
        yield OpenPoint(spec.where, "shared", "redis", text)


def _forgets(config: Config) -> Iterator[OpenPoint]:
    kept: list[Any] = [*config.of(BanSpec), *config.of(ListSpec)]
    if kept and not config.settings.state:
        text = "a restart forgets bans and changes of lists: set it to a file"
        # there may be no [lbproxy] to point at
        yield OpenPoint(kept[0].where, "lbproxy", "state", text)


def _is_local(address: Address | None) -> bool:
    if address is None or address.kind != "tcp":
        return address is not None
    try:
        return ip_address(address.host).is_loopback
    except ValueError:
        return False


def _admin(config: Config) -> Iterator[OpenPoint]:
    settings = config.settings

    def point(key: str, text: str) -> OpenPoint:
        return OpenPoint(settings.where, "lbproxy", key, text)

    if settings.guard_public:
        networks = " ".join(map(str, settings.guard_public))
        text = f"the guard takes {networks} for public, for tests only: remove it"
        yield point("guard_public", text)
    for one in settings.admin:
        local = _is_local(one.address)
        if one.address is not None and one.address.kind != "tcp":
            continue  # the permissions of the socket decide
        if not settings.admin_tokens and not one.client_ca and one.role == "write":
            text = "every user of this machine may change everything: set admin_tokens"
            yield point("admin", f"{one.endpoint}: {text}")
        if not local and not one.tls:
            yield point("admin", f"{one.endpoint}: tokens pass the network in clear: use tls:")
        if not local and "metrics" in settings.admin_public:
            yield point("admin_public", "everybody may read the metrics: remove 'metrics'")


def _frontend(spec: FrontendSpec, config: Config) -> Iterator[OpenPoint]:
    def point(key: str, text: str, where: Where = spec.where) -> OpenPoint:
        return OpenPoint(where, f"frontend {spec.name}", key, text)

    if not spec.maxconn_per_ip and not getattr(spec, "limits", ()):
        yield point("maxconn_per_ip", "one client may take all connections: set it, or 'limits'")
    if spec.mode != "tcp" and not getattr(spec, "limits", ()):
        yield point("limits", "one client may send any number of requests: set 'limits'")
    if not getattr(spec, "bans", ()):
        yield point("bans", "clients that misbehave may go on: set 'bans'")
    for one in spec.listen:
        if one.ciphers and _WEAK.search(one.ciphers):
            yield point("listen", f"{one.endpoint}: ciphers has weak ones: remove 'ciphers'")
        if _covers_all(one.accept_proxy):
            yield point("accept_proxy", "every client may choose its address: name the proxies")
    if _covers_all(spec.trusted_proxies):
        yield point("trusted_proxies", "every client may choose its address: name the proxies")
    for key in ("timeout_header", "timeout_body", "timeout_handshake"):
        seconds = getattr(spec, key)
        if seconds > LONG_S and (spec.mode != "tcp" or key == "timeout_handshake"):
            yield point(key, f"a slow client may hold a connection for {seconds:g} s: shorten it")
    if spec.mode != "tcp":
        for key, text in _http(spec, config):
            yield point(key, text)


def _http(spec: FrontendSpec, config: Config) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of what a frontend for HTTP leaves open."""
    if spec.max_body is None:
        yield "max_body", "bodies of any size pass: set it"
    if spec.server_header == "pass":
        yield "server_header", "responses may show names and versions of servers: set 'remove'"
    if spec.upgrade == "any":
        yield "upgrade", "clients may switch to any protocol: set 'websocket' or 'none'"
    if spec.trace:
        yield "trace", "TRACE shows headers that proxies have added: set 'no'"
    if not any(one.tls for one in spec.listen) and not all(
        _is_local(o.address) for o in spec.listen
    ):
        yield "listen", "requests pass the network in clear: add a tls: listener"
    name = getattr(spec, "waf", "")
    firewall = {one.name: one for one in config.of(WafSpec)}.get(name)
    if name in ("", "none"):
        yield "waf", "requests are not judged by a firewall: set 'waf = NAME'"
    elif firewall is not None and firewall.mode == "detect":
        yield "waf", f"[waf {name}] only logs attacks: set 'mode = block'"
    elif firewall is not None and firewall.rules and firewall.on_error == "open":
        yield "waf", f"[waf {name}] passes what it cannot judge: set 'on_error = closed'"
    if getattr(spec, "open", False) and spec.mode == "corsproxy":
        yield "open", "everybody may use the CORS proxy: set 'origins' or 'keys'"
    for plugin in spec.filters:
        if plugin.name == "cors" and "*" in (getattr(plugin.options, "origins", None) or ()):
            yield "filters", "cors: pages of every origin may read responses: name the origins"


def _backend(spec: BackendSpec) -> Iterator[OpenPoint]:
    for server in spec.servers:
        if server.tls and not server.verify:
            text = f"{server.name}: anybody may pose as the server: remove verify=no, set ca="
            yield OpenPoint(server.where, f"backend {spec.name}", "servers", text)


def _covers_all(networks: Iterable[Any]) -> bool:
    return any(one.prefixlen == 0 for one in networks)
