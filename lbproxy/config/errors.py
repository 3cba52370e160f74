"""PURE. What is wrong with a configuration, said so that a person or a program can act on it.

Made by every module of this package, raised by :mod:`lbproxy.config.build` as one
:class:`ConfigErrors` that holds them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from attrs import asdict, evolve, frozen

from lbproxy.config.masking import redact
from lbproxy.model import Where

__all__ = ["ConfigError", "ConfigErrors", "PluginError", "Unfit", "nearest_word"]

SHOWN = 400
"""Longest text of one error's ``found`` and message, in characters."""

LONG_LIST = 12
"""A longer list of allowed words is left out of the text when the nearest word says enough."""


def shorten(text: str, limit: int = SHOWN) -> str:
    """``text`` on one line, without control characters, and cut when it is very long."""
    clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def nearest_word(word: str, known: Iterable[str]) -> str:
    """The word of ``known`` most like ``word``, or "" when none is close."""
    words = [k for k in known if k]
    by_plain = {k.lower().replace("_", "-"): k for k in words}
    found = get_close_matches(word[:100].lower().replace("_", "-"), by_plain, 1, 0.6)
    return by_plain[found[0]] if found else ""


class Unfit(ValueError):
    """A value that cannot be used; says what was found and what is allowed.

    ``known`` are the words that would have been right, where there is such a list; the nearest one is
    worked out from it.
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


class PluginError(Exception):
    """A balancer, filter or probe that was named exists but cannot be loaded; the message says why."""


@frozen
class ConfigError:
    """One mistake.

    ``section`` is the header without brackets ("backend app"), "" outside of any; ``key`` the key it is
    about, or "".  ``found`` is what stands there, ``allowed`` the words that may, ``nearest`` the likeliest
    of them or "".
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
        """For ``lbproxy check --json``."""
        return {**asdict(self), "text": str(self)}


class ConfigErrors(Exception):
    """Everything that is wrong with a configuration, in the order of its lines; never empty."""

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
        """Show ``secret`` in no error about the line ``where``, whether it is reported before or after."""
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
        """Note a mistake; ``known`` gives the allowed and the nearest word."""
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
        """Note what a parser raised."""
        if isinstance(error, Unfit):
            self.add(where, section, key, error.message, found=error.found, known=error.known)
        else:
            self.add(where, section, key, str(error) or type(error).__name__)

    def raise_if_any(self) -> None:
        """Raise :class:`ConfigErrors` with what was collected, by file and line."""
        if self.errors:
            order = {
                file: i for i, file in reversed(list(enumerate(e.where.file for e in self.errors)))
            }
            unique = dict.fromkeys(self.errors)  # a line of [defaults] is read for each section
            raise ConfigErrors(
                self._redacted(error)
                for error in sorted(unique, key=lambda e: (order[e.where.file], e.where.line))
            )
