"""CONTROL. ``guard = public-only``: a backend whose servers must have public addresses."""

from __future__ import annotations

from lbproxy.guard.configured import configured_judge
from lbproxy.guard.judge import AddressJudge, name_reason
from lbproxy.model import Address, BackendSpec, Config, ServerSpec
from lbproxy.net.interfaces import local_addresses
from lbproxy.net.lookup import literal_addresses

__all__ = ["guard_warnings", "judge_of", "server_reason"]


def judge_of(config: Config, backend: BackendSpec) -> AddressJudge | None:
    """Return the object that checks the addresses of ``backend``, None without a guard."""
    if backend.guard == "off":
        return None
    return configured_judge(config, local_addresses())


def server_reason(judge: AddressJudge, server: ServerSpec) -> str:
    """Return why the guard refuses a configured server, "" if it accepts it.

    :class:`lbproxy.checks.resolver.Resolver` checks the addresses of a name.
    """
    for address in (server.target.address, server.check_address):
        if address is not None and (reason := _reason(judge, address)):
            return f"guard: {reason}"
    check = server.check_address
    if check is not None and literal_addresses(check) is None:
        return "guard: check_address must be an IP address, because names are not checked there"
    return ""


def _reason(judge: AddressJudge, address: Address) -> str:
    if address.kind == "unix":
        return f"{address} is not a public address"
    if literal_addresses(address) is None:
        reason = name_reason(address.host.lower().removesuffix("."))
        return f"{address.host} {reason}" if reason else ""
    reason = judge.reason(address.host, address.port)
    return f"{address.host} is {reason}" if reason else ""


def guard_warnings(config: Config) -> list[str]:
    """Return warnings for a configuration that relaxes the guard."""
    networks = config.settings.guard_public
    if not networks:
        return []
    text = ", ".join(str(network) for network in networks)
    return [f"lbproxy: guard_public makes the guard treat {text} as public: for tests only"]
