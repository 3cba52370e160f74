"""DATA. The exits of one CORS proxy, by the allowed names of ``colo=``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from lbproxy.guard import AllowedTarget
from lbproxy.net.dialler import Dialler
from lbproxy.proxy.features.corsproxy.egress import EgressSpec, ExitNames, exit_url
from lbproxy.proxy.features.corsproxy.exitdial import exit_dialler
from lbproxy.proxy.features.corsproxy.targets import Targets

__all__ = ["Exit", "Exits"]


@frozen
class Exit:
    """An exit. ``name``: "" for the direct way. ``targets``: the connections that use it.

    ``hop``: the other lbproxy that fetches the targets, whose address is configuration, with its
    ``spec``; None if the exit leads to the targets themselves.
    """

    name: str
    targets: Targets
    hop: AllowedTarget | None = None
    spec: EgressSpec | None = None


class Exits:
    """All exits. ``by_name``: "" is the direct way. Raises ValueError like :class:`ExitNames`."""

    def __init__(
        self,
        specs: Sequence[EgressSpec],
        dialler: Dialler,
        reactor: Any,
        make: Callable[[Any, str | None], Targets],
        default: str = "",
    ) -> None:
        self.names = ExitNames(specs, default)
        self.by_name = {"": Exit("", make(dialler, None))}
        for spec in specs:
            hop: AllowedTarget | None = None
            if spec.lbproxy:
                scheme, host, port = exit_url(spec.lbproxy)
                hop = AllowedTarget(scheme, host, port, "/")
            dials = exit_dialler(dialler, spec, reactor)
            targets = make(dials, spec.ca if hop else None)
            self.by_name[spec.name] = Exit(spec.name, targets, hop, spec)

    def close(self) -> None:
        """Close idle connections; running exchanges finish."""
        for one in self.by_name.values():
            one.targets.close()
