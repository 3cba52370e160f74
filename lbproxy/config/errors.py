"""PURE. Configuration errors, for people and programs.

Every module of this package creates them. :mod:`lbproxy.config.build` raises all of them as one
:class:`ConfigErrors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from attrs import asdict, evolve, frozen

from lbproxy.config.masking import redact
from lbproxy.model import Where

__all__ = ["ConfigError", "ConfigErrors", "PluginError", "Unfit", "nearest_word", "no_section"]

SHOWN = 400
"""Maximum length of an error's ``found`` and message, in characters."""

LONG_LIST = 12
"""A longer list of allowed words is omitted from the text if there is a nearest word."""


def shorten(text: str, limit: int = SHOWN) -> str:
    """Return ``text`` on one line, without control characters, cut if it is very long."""
    clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def nearest_word(word: str, known: Iterable[str]) -> str:
    """Return the word of ``known`` most similar to ``word``, or ""."""
    words = [k for k in known if k]
    by_plain = {k.lower().replace("_", "-"): k for k in words}
    found = get_close_matches(word[:100].lower().replace("_", "-"), by_plain, 1, 0.6)
    return by_plain[found[0]] if found else ""


class Unfit(ValueError):
    """An unusable value; the message has what was found and what is allowed.

    ``known``: the allowed words, if they are a list. The nearest one is derived from it.
    """

    def __init__(self, message: str, *, found: str = "", known: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.known = tuple(known)
        self.nearest = nearest_word(found, known) if found else ""

    def __str__(self) -> str:
        text = self.message
        if self.known:
            text += "; allowed: " + ", ".join(self.known)
        if self.nearest:
            text += f"; did you mean {self.nearest!r}?"
        return text


def no_section(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error about a reference to a section that does not exist; ``known``: the names of
    those that do.
    """
    error = Unfit(f"there is no [{kind} {name}]", found=name, known=sorted(known))
    return ValueError(str(error))


class PluginError(Exception):
    """A balancer, filter or probe that exists but cannot be loaded; the message has the reason."""


@frozen
class ConfigError:
    """One error.

    ``section``: header without brackets ("backend app"), or "". ``key``: the key concerned, or "".
    ``found``: the written text. ``allowed``: the allowed words. ``nearest``: the most similar of
    them, or "".
    """

    where: Where
    section: str
    key: str
    message: str
    found: str = ""
    allowed: tuple[str, ...] = ()
    nearest: str = ""

    def __str__(self) -> str:
        place = f"[{self.section}]" if self.section else ""
        head = " ".join(part for part in (place, self.key) if part)
        text = f"{self.where}: {head}: {self.message}" if head else f"{self.where}: {self.message}"
        if self.allowed and not (self.nearest and len(self.allowed) > LONG_LIST):
            text += "; allowed: " + ", ".join(self.allowed)
        if self.nearest:
            text += f"; did you mean {self.nearest!r}?"
        return text

    def as_dict(self) -> dict[str, object]:
        """Return the error for ``lbproxy check --json``."""
        return {**asdict(self), "text": str(self)}


class ConfigErrors(Exception):
    """All errors of a configuration, in the order of its lines; never empty."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class Problems:
    """Collects errors while a configuration is built."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []
        self._secrets: dict[Where, set[str]] = {}

    def hide(self, where: Where, secret: str) -> None:
        """Remove ``secret`` from all errors about the line ``where``, past and future."""
        if secret:
            self._secrets.setdefault(where, set()).add(secret)

    def _redacted(self, error: ConfigError) -> ConfigError:
        message, found = error.message, error.found
        for secret in sorted(self._secrets.get(error.where, ()), key=len, reverse=True):
            message, found = redact(message, secret), redact(found, secret)
        return evolve(error, message=message, found=found)

    def add(
        self,
        where: Where,
        section: str,
        key: str,
        message: str,
        *,
        found: str = "",
        known: Sequence[str] = (),
    ) -> None:
        """Record an error; ``known`` gives the allowed and the nearest word."""
        self.errors.append(
            ConfigError(
                where,
                shorten(section, 120),
                shorten(key, 120),
                shorten(message),
                shorten(found),
                tuple(known),
                nearest_word(found, known) if found else "",
            )
        )

    def add_exception(self, where: Where, section: str, key: str, error: Exception) -> None:
        """Record an exception of a parser."""
        if isinstance(error, Unfit):
            self.add(where, section, key, error.message, found=error.found, known=error.known)
        else:
            self.add(where, section, key, str(error) or type(error).__name__)

    def raise_if_any(self) -> None:
        """Raise :class:`ConfigErrors` with the recorded errors, sorted by file and line."""
        if self.errors:
            order = {
                file: i for i, file in reversed(list(enumerate(e.where.file for e in self.errors)))
            }
            unique = dict.fromkeys(self.errors)  # a line of [defaults] is read for each section
            raise ConfigErrors(
                self._redacted(error)
                for error in sorted(unique, key=lambda e: (order[e.where.file], e.where.line))
            )
