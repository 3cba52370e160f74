"""CONTROL. The addresses at which a server is checked, and the PROXY header of checks."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from lbproxy.balance.server import ServerState
from lbproxy.config.model import Address
from lbproxy.net.lookup import literal_addresses, look_up
from lbproxy.net.proxyproto import encode_v1, encode_v2

__all__ = ["check_preamble", "places_of"]


async def places_of(
    server: ServerState, wanted: Address | None, port: int, reactor: Any
) -> list[tuple[str, Address]]:
    """Return the addresses of ``server`` as text, each with the address to check.

    ``wanted``: the ``check_address``, or None. If it has another host, only that one is checked,
    for the first address. ``port``: port of checks, or 0 for that of the server.
    """
    own = server.addresses
    if wanted is None:
        return [
            (str(one), evolve(one, port=port) if port and one.kind == "tcp" else one) for one in own
        ]
    literals = literal_addresses(wanted)
    if literals is not None:
        return [(str(own[0]), literals[0])]
    if any(wanted.host == one.host for one in server.spec.target.sockets):
        return [(str(one), evolve(wanted, host=one.host)) for one in own]
    hosts = await look_up(reactor, wanted.host)
    return [(str(own[0]), evolve(wanted, host=hosts[0]))] if hosts else []


def check_preamble(server: ServerState) -> bytes:
    """Return the PROXY header of the proxy's own connection (LOCAL, UNKNOWN), if the server expects
    one.

    A ``check_address`` gets none, because it is another listener.
    """
    if server.spec.check_address is not None or not server.spec.send_proxy:
        return b""
    if server.spec.send_proxy == "v1":
        return encode_v1(None, None)
    return encode_v2(None, None, local=True)
