"""CONTROL. The TLS settings for the checks of one backend.

Made by :mod:`lbproxy.service`, asked by :class:`lbproxy.checks.checker.Checker` before each check.
The rules:

1. ``no_tls``: never.
2. TLS is spoken if the server's line says ``tls``, if the check does, or if there is no such check
   without it (:attr:`lbproxy.probes.base.Probe.secure`).
3. ``sni``, ``ca`` and ``verify`` of the check come before those of the server's line. Where the
   check says none of them and traffic speaks TLS too, traffic's own context is used, without
   resuming its sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from attrs import evolve

from lbproxy.balance.server import ServerState
from lbproxy.config.model import CertificateSpec, CheckSpec, ServerSpec
from lbproxy.tls.clientcontext import full_handshakes
from lbproxy.tls.contexts import client_contexts
from lbproxy.tls.parameters import TLSParameters

__all__ = ["CheckTLS"]

TLSFor = Callable[[ServerState], TLSParameters | None]


class CheckTLS:
    """``traffic(server)`` is what its traffic speaks; ``probe`` the probe that asks."""

    def __init__(
        self,
        check: CheckSpec,
        probe: Any,
        certificates: Sequence[CertificateSpec],
        traffic: TLSFor,
    ) -> None:
        self._check = check
        self._secure = check.tls or bool(getattr(probe, "secure", False))
        self._alpn: tuple[str, ...] = tuple(getattr(probe, "alpn", ()))
        self._certificates = certificates
        self._traffic = traffic
        self._own = bool(check.sni or check.ca or check.verify is not None)
        self._made: WeakKeyDictionary[ServerState, TLSParameters] = WeakKeyDictionary()

    def __call__(self, server: ServerState) -> TLSParameters | None:
        """For one server, None in the clear.

        The first time it reads files and may raise
        :class:`lbproxy.tls.certificates.CertificateError`.
        """
        if self._check.no_tls or not (self._secure or server.spec.tls):
            return None
        if server.spec.tls and not self._own:
            return full_handshakes(self._traffic(server))
        made = self._made.get(server)
        if made is None:
            made = self._made[server] = self._make(server.spec)
        return made

    def _make(self, server: ServerSpec) -> TLSParameters:
        check = self._check
        host = check.sni or server.sni
        if not host and server.check_address is not None and not server.tls:
            host = server.check_address.host  # the name in the line that this check goes to
        spec = evolve(
            server,
            sni=host,
            ca=check.ca or server.ca,
            verify=server.verify if check.verify is None else check.verify,
        )
        return TLSParameters(
            client_contexts(spec, self._certificates, self._alpn), server_side=False
        )
