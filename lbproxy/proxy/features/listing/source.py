"""DATA. Reads a ``[list NAME]`` from a file or a URL, periodically, in a thread.

A new version is used if it can be read, has no invalid line and is not empty. Otherwise the last
valid version stays in use, and the process log has the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from lbproxy.lists.addresslist import AddressList
from lbproxy.lists.text import ListText
from lbproxy.net.timers import TimerWheel
from lbproxy.proxy.features.listing.reading import read_source
from lbproxy.proxy.features.listing.spec import ListSpec
from lbproxy.proxy.ratelog import Quiet
from lbproxy.sharing.contracts import Replicated

__all__ = ["ListSource"]

_CHUNK: Final = 500  # maximum number of changes in a message

_quiet = Quiet(Logger())


class ListSource:
    """One list in use. ``error``: why the last version was rejected, "" if it was accepted."""

    def __init__(
        self, spec: ListSpec, wheel: TimerWheel, reactor: Any, replicated: Replicated
    ) -> None:
        self.spec = spec
        self.list = AddressList(spec.name)
        self.error = ""
        self._touched = False  # an operator has changed the list at some time
        self._users = 0
        self._replicated = replicated
        self._end: Callable[[], None] | None = None
        self._reactor = reactor
        self._timer = wheel.timer(self._look)
        self._seen: Any = None
        self._busy = False

    def load(self) -> None:
        """Read a list that has never been read. This call blocks. Raises ValueError."""
        try:
            seen = self._stamp()
            self._take(read_source(self.spec, waited_for=True))
            self._seen = seen
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error)
            self.error = str(words)
            raise ValueError(f"list {self.spec.name}: {words}") from None

    def apply(self, spec: ListSpec) -> None:
        """Apply ``spec``. The contents stay until the new ones have been read."""
        if spec != self.spec:
            self.spec = spec
            self._seen = None
            self._look()

    def acquire(self) -> None:
        """Add a user. The list is checked for changes while it has users."""
        self._users += 1
        if self._end is None:
            topic = f"list:{self.spec.name}"
            self._end = self._replicated.subscribe(topic, self._edited, self._edits, kept=True)
            self._timer.set(self.spec.refresh)

    def release(self) -> None:
        """Remove a user, and stop checking for changes after the last one."""
        self._users -= 1
        if not self._users and self._end is not None:
            self._timer.clear()
            self._end()
            self._end = None

    def edit(self, verb: Literal["add", "remove"], address: str) -> None:
        """Add or remove an address, a prefix or a range in all processes. Raises ValueError."""
        self.list.bounds_for(address, self.list.added if verb == "add" else self.list.removed)
        self._replicated.publish(f"list:{self.spec.name}", {verb: [address]})

    def _edited(self, message: dict[str, Any]) -> None:
        """Apply changes that a process has published."""
        self._touched = True
        added, removed = message.get("add", ()), message.get("remove", ())
        if message.get("whole"):
            self.list.edit(added, removed)
            return
        try:
            for address in added:
                self.list.add(address)
            for address in removed:
                self.list.remove(address)
        except ValueError as error:  # too many entries
            name = f"list {self.spec.name}"
            _quiet.warn(f"{name} edits", "{name}: {error}", name=name, error=str(error))

    def _edits(self) -> Iterator[dict[str, Any]]:
        """Yield all changes, for a process that starts or has missed some."""
        if not self._touched:
            return
        yield {"whole": True}
        for verb, edits in (("add", self.list.added), ("remove", self.list.removed)):
            texts = list(edits)
            for at in range(0, len(texts), _CHUNK):
                # each part is current when it is sent: operators may make changes in between
                now = self.list.added if verb == "add" else self.list.removed
                yield {verb: [text for text in texts[at : at + _CHUNK] if text in now]}

    def _stamp(self) -> Any:
        if not self.spec.file:
            return None
        found = Path(self.spec.file).stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _look(self) -> None:
        """Read the list again if it may have changed."""
        if self._users:
            self._timer.set(self.spec.refresh)
        spec = self.spec
        if self._busy:
            return
        try:
            seen = self._stamp()
        except OSError as error:
            self._failed(Failure(error))
            return
        if seen is not None and seen == self._seen:
            return
        self._busy = True
        read: Callable[[], ListText] = lambda: read_source(spec)  # noqa: E731
        done = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), read)
        done.addCallback(self._came, spec, seen)
        done.addErrback(self._failed)

    def _came(self, found: ListText, spec: ListSpec, seen: Any) -> None:
        self._busy = False
        if spec != self.spec:
            self._look()
            return
        self._seen = seen
        self._take(found)

    def _take(self, found: ListText) -> None:
        spec = self.spec
        read = found.lines > len(spec.addresses)  # more entries than the section itself has
        if not read and not spec.empty and (spec.file or spec.url):
            raise ValueError("the new version is empty, and 'empty = no'")
        self.error = ""
        self.list.load(found.prefixes)

    def _failed(self, failure: Failure) -> None:
        self._busy = False
        error = failure.value
        self.error = str(getattr(error, "strerror", None) or error)
        _quiet.warn(
            f"list {self.spec.name}",
            "list {name}: {error}; {kept}",
            name=self.spec.name,
            error=self.error,
            kept="the last good version stays in use" if self.list.loaded else "it has no contents",
        )
