"""CONTROL. The source of a configuration, which a reload reads again: a file, text or Config."""

from __future__ import annotations

from pathlib import Path

from lbproxy.config.errors import ConfigError, ConfigErrors
from lbproxy.config.model import Config, Where
from lbproxy.registry import load_config, parse_config

__all__ = ["ConfigSource", "read_config"]


def _is_text(source: Config | str | Path) -> bool:
    """Return whether ``source`` is a configuration or its text, and not the name of a file."""
    return isinstance(source, Config) or (isinstance(source, str) and "\n" in source)


def read_config(source: str | Path) -> Config:
    """Read a file, or a text, which has more than one line. Raises :class:`ConfigErrors`."""
    return parse_config(str(source)) if _is_text(source) else load_config(Path(source))


class ConfigSource:
    """The source of the running configuration. ``path``: its file; None if it was not read from a
    file.
    """

    def __init__(self) -> None:
        self.path: Path | None = None

    def use(self, source: Config | str | Path) -> None:
        """Store ``source``, which is in use from now on."""
        # absolute, because a daemon changes its folder
        self.path = None if _is_text(source) else Path(str(source)).absolute()

    def read(self, source: Config | str | Path | None, running: Config) -> Config:
        """Return the configuration in ``source``; None reads the file again.

        ``running`` is the configuration in use. Raises :class:`ConfigErrors`.
        """
        if isinstance(source, Config):
            return source
        if source is not None:
            return read_config(source)
        if self.path is None:
            message = "no file to read again: the configuration was created from a text or a Config"
            raise ConfigErrors([ConfigError(Where(running.file), "", "", message)])
        return load_config(self.path)
