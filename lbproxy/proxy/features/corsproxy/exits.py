"""DATA. The exits of one CORS proxy, by the names that ``colo=`` may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from lbproxy.guard import AllowedTarget
from lbproxy.net.dialler import Dialler
from lbproxy.proxy.features.corsproxy.egress import EgressSpec, exit_url
from lbproxy.proxy.features.corsproxy.exitdial import exit_dialler
from lbproxy.proxy.features.corsproxy.targets import Targets

__all__ = ["Exit", "Exits"]


@frozen
class Exit:
    """``name``: "" for the direct way.  ``targets``: the connections that use it.

    ``hop``: the other lbproxy that fetches the targets, whose address is configuration, with
    ``key``, the API key there; None if the exit leads to targets.
    """

    name: str
    targets: Targets
    hop: AllowedTarget | None = None
    key: str = ""


class Exits:
    """All exits; ``direct``: that of calls without ``colo``.  ValueError for a name twice."""

    def __init__(
        self,
        specs: Iterable[EgressSpec],
        dialler: Dialler,
        reactor: Any,
        make: Callable[[Any, str | None], Targets],
        default: str = "",
    ) -> None:
        self.rows: list[tuple[str, tuple[str, ...], str]] = []
        self._by_name: dict[str, Exit] = {}
        plain = Exit("", make(dialler, None))
        self._all = [plain]
        for spec in specs:
            hop: AllowedTarget | None = None
            if spec.lbproxy:
                scheme, host, port = exit_url(spec.lbproxy)
                hop = AllowedTarget(scheme, host, port, "/")
            dials = exit_dialler(dialler, spec, reactor)
            found = Exit(spec.name, make(dials, spec.ca if hop else None), hop, spec.api_key)
            self._all.append(found)
            for name in (spec.name, *spec.alias):
                if name.lower() in self._by_name:
                    raise ValueError(f"two exits have the name {name!r}")
                self._by_name[name.lower()] = found
            way = next(
                key for key in ("source", "interface", "proxy", "lbproxy") if getattr(spec, key)
            )
            self.rows.append((spec.name, spec.alias, way))
        if default and default.lower() not in self._by_name:
            raise ValueError(f"there is no [egress {default}]")
        self.direct = self._by_name[default.lower()] if default else plain

    def find(self, name: str) -> Exit | None:
        """Return the exit of a call; without any section every name means the direct way."""
        if not name or not self._by_name:
            return self.direct
        return self._by_name.get(name.lower())

    def close(self) -> None:
        """Close idle connections; running exchanges finish."""
        for one in self._all:
            one.targets.close()
