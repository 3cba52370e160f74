"""PURE. The configuration as frozen objects: the single source of names, types, defaults, bounds
and texts.

Each class here is one section or one line of ``lb.ini``. The metadata of its fields drive parsing
and validation (:mod:`lbproxy.config.build`), the generated reference
(:mod:`lbproxy.config.reference`), ``lbproxy check`` and ``lbproxy explain``. Durations are float
seconds, sizes are int bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
from attrs import field, frozen

from lbproxy.model.alerts import AlertsSpec, CommandSpec, MailSpec, RuleSpec, WebhookSpec
from lbproxy.model.backend import BackendSpec, MirrorSpec, RebalanceSpec
from lbproxy.model.base import (
    NOWHERE,
    Address,
    Condition,
    ListName,
    Mode,
    Network,
    PluginSpec,
    Target,
    Where,
    hidden,
    option,
    read_name_server,
)
from lbproxy.model.discovery import TemplateSpec
from lbproxy.model.frontend import FrontendSpec, RouteSpec
from lbproxy.model.listen import AdminSpec, CertificateSpec, ListenSpec, LogSpec
from lbproxy.model.server import AgentSpec, CheckSpec, PassiveSpec, ServerSpec
from lbproxy.model.settings import GlobalSpec
from lbproxy.model.shared import RedisPlace, SharedSpec, read_redis_url

__all__ = [
    "NOWHERE",
    "Address",
    "AdminSpec",
    "AgentSpec",
    "AlertsSpec",
    "BackendSpec",
    "CertificateSpec",
    "CheckSpec",
    "CommandSpec",
    "Condition",
    "Config",
    "FrontendSpec",
    "GlobalSpec",
    "ListName",
    "ListenSpec",
    "LogSpec",
    "MailSpec",
    "MirrorSpec",
    "Mode",
    "Network",
    "PassiveSpec",
    "PluginSpec",
    "RebalanceSpec",
    "RedisPlace",
    "RouteSpec",
    "RuleSpec",
    "ServerSpec",
    "SharedSpec",
    "Target",
    "TemplateSpec",
    "WebhookSpec",
    "Where",
    "hidden",
    "option",
    "read_name_server",
    "read_redis_url",
]


T = TypeVar("T")


@frozen
class Config:
    """A complete, validated configuration: every reference has a target."""

    settings: GlobalSpec = GlobalSpec()
    frontends: tuple[FrontendSpec, ...] = ()
    backends: tuple[BackendSpec, ...] = ()
    certificates: tuple[CertificateSpec, ...] = ()
    alerts: AlertsSpec = field(default=AlertsSpec(), metadata={"workers": "master"})
    shared: SharedSpec = SharedSpec()
    others: tuple[Any, ...] = ()
    """Sections that belong to a single feature; see :meth:`of`."""
    file: str = hidden("<text>")
    sources: tuple[str, ...] = hidden(())
    """Files and glob patterns that the configuration was read from, including plugins in files.
    Empty for a text.
    """
    places: Mapping[tuple[str, str], Where] = hidden(attrs.Factory(dict))
    """Position of each written key, by section ("frontend web") and key; key "" is the header."""

    def of(self, cls: type[T]) -> tuple[T, ...]:
        """Return the sections in ``others`` whose class is ``cls``, in the order written."""
        return tuple(spec for spec in self.others if isinstance(spec, cls))

    def place(self, where: Where, section: str, key: str) -> Where:
        """Return the position of ``key`` if ``where`` is only the header of its section."""
        if where != self.places.get((section, "")):
            return where
        return self.places.get((section, key), where)

    def backend(self, name: str) -> BackendSpec:
        """Return the backend ``name``. Raises KeyError if it does not exist."""
        for spec in self.backends:
            if spec.name == name:
                return spec
        raise KeyError(name)

    def frontend(self, name: str) -> FrontendSpec:
        """Return the frontend ``name``. Raises KeyError if it does not exist."""
        for spec in self.frontends:
            if spec.name == name:
                return spec
        raise KeyError(name)
