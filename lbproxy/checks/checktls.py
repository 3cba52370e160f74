"""CONTROL. The TLS settings for the checks of one backend.

:mod:`lbproxy.service` creates it, and :class:`lbproxy.checks.checker.Checker` calls it before each
check. The rules:

1. ``no_tls``: never.
2. TLS is used if the server's line has ``tls``, if the check has it, or if this kind of check
   always needs it (:attr:`lbproxy.probes.base.Probe.secure`).
3. ``sni``, ``ca`` and ``verify`` of the check take precedence over those of the server's line. If
   the check sets none of them and traffic uses TLS too, traffic's own context is used, without
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
    """The TLS parameters of checks. ``traffic(server)``: parameters of its traffic. ``probe``: the
    probe of the checks.
    """

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
        """Return the parameters for one server, None without TLS.

        The first call reads files and may raise :class:`lbproxy.tls.certificates.CertificateError`.
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
            host = server.check_address.host  # the name in the server line that this check uses
        spec = evolve(
            server,
            sni=host,
            ca=check.ca or server.ca,
            verify=server.verify if check.verify is None else check.verify,
        )
        return TLSParameters(
            client_contexts(spec, self._certificates, self._alpn), server_side=False
        )
