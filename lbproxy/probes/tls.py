"""CONTROL. The ``tls`` check: only a handshake, and the remaining validity of the certificate.

Found by :mod:`lbproxy.registry` under its name. The chain and the name are verified as configured
in the server line or in the check.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from attrs import frozen
from cryptography import x509
from twisted.logger import Logger

from lbproxy.balance.server import ServerState
from lbproxy.config.model import option
from lbproxy.interfaces import Env
from lbproxy.probes.base import Conversation, Probe, ProbeTarget, Unhealthy

__all__ = ["TlsOptions", "TlsProbe"]

_log = Logger()


@frozen
class TlsOptions:
    """Options of ``check = tls``."""

    expires: float = option(
        "duration",
        14 * 86400.0,
        min=0.0,
        max=3650 * 86400.0,
        doc="log a warning when the certificate expires within this time; 0: never",
        example="30d",
    )
    strict: bool = option(
        "flag", False, doc="fail the check if the certificate expires within that time"
    )


class TlsProbe(Probe):
    """Healthy if the TLS handshake succeeds, and the certificate is trusted and valid for the name.

    The note gives the expiry date of the certificate. lbproxy logs a warning, once, when it expires
    soon.
    """

    name: ClassVar[str] = "tls"
    Options: ClassVar[type[Any]] = TlsOptions
    secure = True

    def __init__(self, options: TlsOptions, env: Env) -> None:
        super().__init__(options, env)
        self._warned: WeakKeyDictionary[ServerState, int] = WeakKeyDictionary()

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        transport: Any = conversation.transport
        found = transport.getPeerCertificate()
        if found is None:
            raise Unhealthy("the server has shown no certificate")
        certificate: x509.Certificate = found.to_cryptography()
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        note = f"certificate {_until(left)}"
        options: TlsOptions = self.options
        if left.total_seconds() < options.expires:
            if options.strict:
                raise Unhealthy(note)
            self._warn(target.server, certificate.serial_number, note)
        return note

    def _warn(self, server: ServerState, serial: int, note: str) -> None:
        if self._warned.get(server) != serial:
            self._warned[server] = serial
            _log.warn(
                "server {backend}/{server}: {note}",
                backend=server.backend,
                server=server.name,
                note=note,
            )


def _until(left: timedelta) -> str:
    hours = left.total_seconds() / 3600
    if hours < 0:
        return "has expired"
    return f"expires in {hours / 24:.0f} days" if hours >= 48 else f"expires in {hours:.0f} hours"
