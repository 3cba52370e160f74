"""DATA. The log messages of a cache folder, each kind at most once a second."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from twisted.logger import Logger

from lbproxy.proxy.ratelog import Quiet

__all__ = ["log_failure", "log_reset"]

_quiet: Final = Quiet(Logger("lbproxy.proxy.features.caching.disk.folder"))


def log_failure(path: Path, what: str, error: BaseException | None, file: str = "") -> None:
    """Log a failure of a folder. ``file``: the name of the file in it, if any."""
    words = getattr(error, "strerror", None) or str(error)
    text = "cache folder {path} {what}: {words}"
    about = f"{what} {file}" if file else what
    _quiet.warn(f"cache folder {path} {what}", text, path=str(path), what=about, words=words)


def log_reset(path: Path) -> None:
    """Log that the contents of a folder are lost."""
    text = "cache folder {path}: its index was replaced or is damaged; its contents are not used"
    _quiet.warn(f"cache reset {path}", text, path=str(path))
