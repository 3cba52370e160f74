"""CONTROL. ``guard = public-only``: a backend whose servers must have public addresses."""

from __future__ import annotations

from lbproxy.guard.configured import configured_judge
from lbproxy.guard.judge import AddressJudge, name_reason
from lbproxy.model import Address, BackendSpec, Config, ServerSpec
from lbproxy.net.interfaces import local_addresses
from lbproxy.net.lookup import literal_addresses

__all__ = ["guard_warnings", "judge_of", "server_reason"]


def judge_of(config: Config, backend: BackendSpec) -> AddressJudge | None:
    """Return what decides about the addresses of ``backend``, None without a guard."""
    if backend.guard == "off":
        return None
    return configured_judge(config, local_addresses())


def server_reason(judge: AddressJudge, server: ServerSpec) -> str:
    """Return why the guard refuses a server as it is written, "" if it does not.

    The addresses of a name are judged by :class:`lbproxy.checks.resolver.Resolver`.
    """
    for address in (server.target.address, server.check_address):
        if address is not None and (reason := _reason(judge, address)):
            return f"guard: {reason}"
    check = server.check_address
    if check is not None and literal_addresses(check) is None:
        return "guard: check_address must be an IP address, because names are not judged there"
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
    """A warning for a configuration that lifts rules of the guard."""
    networks = config.settings.guard_public
    if not networks:
        return []
    text = ", ".join(str(network) for network in networks)
    return [f"lbproxy: guard_public makes the guard take {text} for public: for tests only"]
