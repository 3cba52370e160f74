"""PURE. Templates of servers found by DNS: ``app-{1..10} dns:app.internal:8000``."""

from __future__ import annotations

from attrs import evolve, frozen

from lbproxy.model.base import NOWHERE, Address, Target, Where, hidden
from lbproxy.model.server import ServerSpec

__all__ = ["TemplateSpec"]


@frozen
class TemplateSpec:
    """One line for all addresses of a DNS name.

    The names of the servers consist of ``prefix``, a number and ``suffix``. The number runs from
    ``first`` to ``last`` and has at least ``width`` digits. ``server``: options of each server; its
    address is the DNS name and the port.
    """

    prefix: str
    first: int
    last: int
    suffix: str
    server: ServerSpec
    width: int = 1
    where: Where = hidden(NOWHERE)

    @property
    def text(self) -> str:
        """The names as written, ``app-{1..10}`` or ``app-{01..10}``."""
        first, last = self._number(self.first), self._number(self.last)
        return f"{self.prefix}{{{first}..{last}}}{self.suffix}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the servers, in order."""
        numbers = range(self.first, self.last + 1)
        return tuple(f"{self.prefix}{self._number(number)}{self.suffix}" for number in numbers)

    def _number(self, number: int) -> str:
        return f"{number:0{self.width}}"

    @property
    def address(self) -> Address:
        """The DNS name and the port."""
        address = self.server.target.address
        assert address is not None
        return address

    def server_at(self, name: str, host: str) -> ServerSpec:
        """Return the server ``name`` at the IP literal ``host``.

        With TLS the server must have a certificate for the DNS name, unless ``sni`` is set.
        """
        sni = self.server.sni or (self.address.host if self.server.tls else "")
        target = Target(evolve(self.address, host=host))
        return evolve(self.server, name=name, target=target, sni=sni)
