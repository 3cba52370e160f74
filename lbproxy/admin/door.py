"""CONTROL. One address of the admin side: its listener, and the identity of callers there."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from lbproxy.admin.auth import Identity, Role, Tokens
from lbproxy.model import Address, AdminSpec
from lbproxy.net.endpoints import Bound
from lbproxy.tls.contexts import ServerContextFactory

__all__ = ["Door", "is_loopback"]


class Door:
    """One address of the admin API with its access rules (see :mod:`lbproxy.admin.auth`)."""

    def __init__(
        self, spec: AdminSpec, tokens: Tokens | None, tls: ServerContextFactory | None
    ) -> None:
        self.spec = spec
        self.role = Role[spec.role.upper()]
        self.tokens = tokens
        self.tls = tls
        self.bound: Bound | None = None
        self.announced = False  # for the log message with its address
        self.factory: Any = None  # set once it is bound

    @property
    def address(self) -> Address | None:
        """The bound address; None before it is bound."""
        return self.bound.address if self.bound is not None else None

    @property
    def unix(self) -> bool:
        """Return the identity of a Unix socket's peer; the file's permissions control access."""
        return self.spec.address is not None and self.spec.address.kind == "unix"

    @property
    def loopback(self) -> bool:
        """True if only programs on this machine can connect."""
        address = self.spec.address
        return address is not None and address.kind == "tcp" and is_loopback(address.host)

    def who(self, certificate: str, token: bytes | None, uid: int | None = None) -> Identity:
        """Return the caller with this token (None if absent) and certificate ("" if absent).

        ``uid``: the user of the process at the other end of a Unix socket, None if unknown.
        """
        if token is not None and self.tokens is not None:
            known = self.tokens.identify(token)
            return Identity("", Role.NONE) if known is None else known.at_most(self.role)
        if certificate:
            return Identity(certificate[:100], self.role)
        if self.unix:
            return Identity("socket" if uid is None else f"uid {uid}", self.role)
        if self.tokens is None and self.loopback and not self.spec.client_ca:
            return Identity("local", self.role, proven=False)
        return Identity("", Role.NONE, proven=False)


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is an IP address of the loopback interface."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
