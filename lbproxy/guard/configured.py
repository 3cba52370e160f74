"""PURE. Creates the address checks of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lbproxy.guard.judge import AddressJudge
from lbproxy.model import Address, Config

__all__ = ["configured_judge", "listener_addresses"]


def configured_judge(
    config: Config,
    interfaces: Iterable[str],
    listening: Callable[[], Iterable[Address]] = tuple,
) -> AddressJudge:
    """Return the :class:`AddressJudge` for ``guard_public`` and the listeners of ``config``.

    ``interfaces``: the addresses of this machine. ``listening()`` returns the actual addresses of
    listeners, which the configuration does not contain for sockets of systemd, endpoints and port
    0.
    """
    return AddressJudge(
        public=[str(network) for network in config.settings.guard_public],
        interfaces=interfaces,
        listeners=list(listener_addresses(config)),
        listening=lambda: [(one.host, one.port) for one in listening() if one.kind == "tcp"],
    )


def listener_addresses(config: Config) -> Iterator[tuple[str, int]]:
    """Yield host and port of each TCP listener, the admin API included."""
    addresses = [line.address for frontend in config.frontends for line in frontend.listen]
    addresses += [line.address for line in config.settings.admin]
    for address in addresses:
        if address is not None and address.kind == "tcp":
            yield address.host, address.port
