"""DATA. One ``[limit NAME]`` at work: its counts, and who waits or is held."""

from __future__ import annotations

from attrs import define

from lbproxy.limits.asking import Method
from lbproxy.limits.atonce import AtOnce
from lbproxy.limits.bucket import Buckets
from lbproxy.limits.window import SLICES, Windows
from lbproxy.proxy.feature import Given
from lbproxy.proxy.features.limiting.key import Key
from lbproxy.proxy.features.limiting.spec import LimitSpec
from lbproxy.sharing.contracts import Shared

__all__ = ["HELD", "Limit", "LimitCheck"]

HELD = 1000
"""Requests that a limit holds in the tarpit at once; further ones are refused at once."""

_NAMED = 100  # refused keys that are counted by name


@define
class LimitCheck:
    """A limit that a request is subject to, and its key."""

    limit: Limit
    key: str
    ident: int
    wait: float = 0.0


class Limit:
    """Shared by all frontends and routes that name it.  ``refused``: by key, of the last keys."""

    def __init__(self, spec: LimitSpec, shared: Shared) -> None:
        self._shared = shared
        self.waiting: dict[str, int] = {}
        self.held = 0
        self.refused: dict[str, int] = {}
        self.apply(spec)

    @staticmethod
    def kept(spec: LimitSpec, given: Given) -> Limit:
        """Return the limit of this name that exists, or a new one."""
        return given.keep("limit", spec.name, lambda: Limit(spec, given.shared))

    @staticmethod
    def key_of(spec: LimitSpec) -> Key:
        """Return the key of a section."""
        return Key(spec.key, spec.prefix)

    def apply(self, spec: LimitSpec) -> None:
        """Go on as ``spec`` says; what keys have used stays."""
        self.spec = spec
        self.name = spec.name
        self.key = self.key_of(spec)
        self.method: Method | None = None
        at_once: AtOnce | None = None
        if spec.rate is not None and spec.method == "window":
            self.method = Windows(self._shared.cells(SLICES), f"limit:{spec.name}", spec.rate)
        elif spec.rate is not None:
            self.method = Buckets(self._shared.cells(0), f"limit:{spec.name}", spec.rate)
        else:
            at_once = getattr(self, "at_once", None) or AtOnce(self._shared, spec.name, 0)
            at_once.most = spec.concurrent
        self.at_once = at_once
        self.late = spec.unit in ("bytes", "errors")
        self.cost = 0.0 if self.late else 1.0

    def ask(self, key: str, now: float) -> LimitCheck:
        """Ask for one more of ``key``; ``wait`` of the result is 0 if it may be."""
        if self.method is None:
            assert self.at_once is not None
            return LimitCheck(self, key, 0, 0.0 if self.at_once.room(key) > 0 else 1.0)
        ident = self.method.ident(key)
        return LimitCheck(self, key, ident, self.method.ask(ident, 1.0, now))

    def has_queue(self, key: str) -> bool:
        """Return whether another request of ``key`` may wait."""
        return self.waiting.get(key, 0) < self.spec.action.queue

    def wait(self, key: str, more: int) -> None:
        """One more request of ``key`` waits, or (-1) one less."""
        count = self.waiting.get(key, 0) + more
        if count:
            self.waiting[key] = count
        else:
            self.waiting.pop(key, None)

    def note_refused(self, key: str) -> None:
        """Count a refusal by key, for people; the key that was refused first is forgotten."""
        shown = self.key.shown(key)
        if shown not in self.refused and len(self.refused) >= _NAMED:
            del self.refused[next(iter(self.refused))]
        self.refused[shown] = self.refused.get(shown, 0) + 1
