"""PURE. The definition of a kind of section, and the context of its checks.

Each kind of section (``[backend NAME]``) is one :class:`Section` in :mod:`lbproxy.config.sections`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from lbproxy.config.draft import Draft, Drafts
from lbproxy.config.errors import Problems, nearest_word
from lbproxy.config.options import Spot, option_fields
from lbproxy.config.plugins import trial
from lbproxy.http.condition import VERBS, check_condition
from lbproxy.http.filter import phases_of
from lbproxy.model import Config, Mode, PluginSpec, Where

__all__ = ["Judge", "Section"]


def _nothing(*given: Any) -> None:
    """Check of sections that need none."""


@frozen
class Section:
    """One kind of section. ``spec`` is the model class; its fields are the keys.

    ``field``: field of :class:`~lbproxy.model.Config` that holds the sections, "" for
    ``Config.others``. ``plural``: name of their table in JSON. ``single``: the section has no name
    and exists at most once. ``prepare(draft, read)`` runs after the keys are read, and sets what
    depends on the whole section; ``read(key, text)`` reads a key as if it were written.
    ``between(judge)`` checks all sections of the kind together, before ``check(draft, judge)``
    checks each.
    """

    kind: str
    spec: type[Any]
    doc: str
    field: str = ""
    plural: str = ""
    single: bool = False
    prepare: Callable[[Draft, Callable[[str, str], None]], None] = _nothing
    between: Callable[[Judge], None] = _nothing
    check: Callable[[Draft, Judge], None] = _nothing

    @property
    def title(self) -> str:
        """The header in the reference."""
        return f"[{self.kind}]" if self.single else f"[{self.kind} NAME]"

    def title_of(self, spec: Any) -> str:
        """Return the header of one section, without brackets."""
        return self.kind if self.single else f"{self.kind} {spec.name}"

    def specs(self, config: Config) -> tuple[Any, ...]:
        """Return the sections of this kind in ``config``, without those that are off."""
        if not self.field:
            return tuple(spec for spec in config.others if type(spec) is self.spec)
        value = getattr(config, self.field)
        if not self.single:
            return tuple(value)
        return (value,) if getattr(value, "on", True) else ()


class Judge:
    """The context of checks: all sections, and a place for errors.

    A key that already has an error (``Draft.broken``) is not judged again, so one mistake gives one
    error. ``exists(path)`` is called for files that the configuration names.
    """

    def __init__(self, drafts: Drafts, problems: Problems, exists: Callable[[str], bool]) -> None:
        self.drafts, self.problems, self.exists = drafts, problems, exists
        self.backends = drafts.names("backend")
        self.certificates = drafts.names("certificate")

    def wrong(self, draft: Draft, where: Where, key: str, message: str, **more: Any) -> None:
        """Report an error in ``draft``."""
        self.problems.add(where, draft.title_at(where), key, message, **more)

    def spot(self, draft: Draft, key: str, where: Where) -> Spot:
        """Return the place for errors of one line."""
        return Spot(self.problems, draft.title_at(where), key, where)

    def file(self, draft: Draft, key: str, where: Where, path: str, option: str = "") -> None:
        """Report a file that does not exist; "" is no file."""
        if path and not self.exists(path):
            message = f"no such file: {path}"
            self.wrong(draft, where, key, f"{option}: {message}" if option else message, found=path)

    def key_pairs(self, draft: Draft, key: str, where: Where, items: Iterable[str]) -> None:
        """Report each of ``certificates`` that is neither a section nor a path."""
        for item in items:
            if item in self.certificates or self.exists(item):
                continue
            near = nearest_word(item.rpartition("/")[2], self.certificates)
            hint = f"; did you mean the certificate {near!r}?" if near else ""
            message = f"no such file or folder, nor a [certificate] section: {item}{hint}"
            self.wrong(draft, where, key, message, found=item)

    def known(
        self, draft: Draft, key: str, where: Where, kind: str, name: str, names: Iterable[str]
    ) -> None:
        """Report the ``name`` of a section that does not exist; "" is no name."""
        if name and name not in names:
            message = f"there is no {kind} {name!r}"
            self.wrong(draft, where, key, message, found=name, known=sorted(names))

    def plugins(self, draft: Draft, mode: Mode, key: str, specs: Iterable[PluginSpec]) -> None:
        """Report plugins that do not support ``mode``."""
        if "mode" in draft.broken:
            return
        for spec in specs:
            spot = self.spot(draft, key, spec.where)
            if not self._conditions(spec, mode, spot):
                continue
            modes = getattr(spec.cls, "modes", None)
            try:
                if isinstance(modes, property):
                    made = trial(spec, spot, draft.name)
                    modes = None if made is None else made.modes
                modes = None if modes is None else frozenset(modes)
            except Exception as error:
                spot.wrong(f"{spec.name}: its modes raised {type(error).__name__}: {error}")
                continue
            if modes is not None and mode not in modes:
                allowed = " and ".join(sorted(modes))
                spot.wrong(
                    f"{spec.name!r} works in {allowed} mode, not in {mode} mode", found=spec.name
                )

    @staticmethod
    def _conditions(spec: PluginSpec, mode: Mode, spot: Spot) -> bool:
        """Check that the conditions of a filter are known in its phase."""
        try:
            for verb, args, _ in spec.conditions:
                check_condition(verb, args, mode, response=True)
        except ValueError as error:
            spot.caught(error)
            return False
        late = next((verb for verb, _, _ in spec.conditions if VERBS[verb].late), "")
        made = trial(spec, spot, "") if late else None
        if made is not None and set(phases_of(made)) - {"response", "finish"}:
            spot.wrong(
                f"{spec.name!r}, as written, works on requests, when {late!r} is not known yet"
            )
            return False
        return True

    def http_only(self, draft: Draft, mode: Mode) -> None:
        """Report keys that have no meaning in tcp mode."""
        if mode != "tcp" or "mode" in draft.broken:
            return
        fields = option_fields(draft.spec)
        for key, where in draft.lines.items():
            if not fields[key].metadata.get("http_only"):
                continue
            if key in draft.inherited:
                draft.values.pop(key, None)
            else:
                self.wrong(draft, where, key, f"only for http mode, and this {draft.kind} is tcp")
