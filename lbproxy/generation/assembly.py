"""CONTROL. The common state of an assembly: configuration, plan and errors.

:mod:`lbproxy.generation.assemble` uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from lbproxy.config.errors import Problems
from lbproxy.config.model import Config, PluginSpec, Where
from lbproxy.generation.generation import Generation, Ground
from lbproxy.generation.plan import Plan
from lbproxy.generation.secret import read_secret
from lbproxy.http.conditional import make_filter
from lbproxy.http.filter import compile_phases
from lbproxy.interfaces import Env
from lbproxy.proxy.feature import Given
from lbproxy.tls.parameters import TLSParameters

__all__ = ["Assembly", "same_tls"]

T = TypeVar("T")


class Assembly:
    """One run from a configuration to a plan. ``old``: the generation in use.

    ``hooks_changed``: frontends have to be compiled again.
    """

    def __init__(self, config: Config, ground: Ground, old: Generation) -> None:
        self.config = config
        self.ground = ground
        self.old = old
        self.plan = Plan(config, ground)
        self.problems: Problems | None = Problems()  # None once the run is over
        self.hooks_changed = False
        self.secret = b""
        self._read_secret()

    def problem(self, where: Where, section: str, key: str, error: Exception) -> None:
        """Record an error. After the run, when an operator adds a server, raise it at once."""
        problems = self.problems or Problems()
        problems.add_exception(self.config.place(where, section, key), section, key, error)
        if self.problems is None:
            problems.raise_if_any()

    def make(self, plugin: PluginSpec, section: str, key: str, make: Callable[[], T]) -> T | None:
        """Return the result of ``make``, the code of a plugin. An exception is recorded, and the
        result is None.
        """
        try:
            return make()
        except Exception as error:
            reason = ValueError(f"{plugin.name}: {type(error).__name__}: {error}")
            self.problem(plugin.where, section, key, reason)
            return None

    def env(self, name: str) -> Env:
        """Return the environment of plugins in the section ``name``."""
        return self.ground.env(name, self.secret)

    def given(self, name: str) -> Given:
        """Return the argument of ``prepare`` for features of the section or route ``name``."""
        ground = self.ground
        env = self.env(name)
        return Given(
            self.config,
            env,
            ground.network,
            ground.shared,
            ground.replicated,
            ground.kept,
            ground.nodes,
        )

    def filters(self, plugins: Iterable[PluginSpec], section: str, old: Any) -> list[Any]:
        """Return the filters of a section. One whose line has not changed keeps its state."""
        there = list(zip(old.spec.filters, old.filters, strict=True)) if old is not None else []
        env = self.env(section.partition(" ")[2])
        filters = []
        for plugin in plugins:
            found = next((pair for pair in there if pair[0] == plugin), None)
            if found is not None:
                there.remove(found)
                filters.append(found[1])
                continue
            made = self.make(plugin, section, "filters", partial(_made_filter, plugin, env))
            if made is not None:
                filters.append(made)
        return filters

    def finish(self) -> Plan:
        """End the run: return the plan, or raise ConfigErrors with all errors.

        Backends keep this object for the TLS of servers that are added later. It therefore drops
        the old generation; otherwise each generation would keep the previous one alive.
        """
        problems, self.problems = self.problems, None
        assert problems is not None
        problems.raise_if_any()
        plan, self.plan = self.plan, Plan(self.config, self.ground)
        self.old = Generation(Config())
        return plan

    def _read_secret(self) -> None:
        settings = self.config.settings
        try:
            self.secret = read_secret(settings.secret)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.problem(settings.where, "lbproxy", "secret", ValueError(reason))


def _made_filter(plugin: PluginSpec, env: Any) -> Any:
    made = make_filter(plugin, env)
    compile_phases([made])  # as frontends do, to find errors now
    return made


def same_tls(old: TLSParameters | None, new: TLSParameters | None) -> bool:
    """Return whether both have the same effect. Contents of files are compared, not their names."""
    if old is None or new is None:
        return old is new
    return bool(old.creator.fingerprint == new.creator.fingerprint)
