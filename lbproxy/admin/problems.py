"""CONTROL. Mistakes in tokens and keys of the admin side, as errors of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lbproxy.admin.auth import TokenError
from lbproxy.config.errors import Problems
from lbproxy.model import Config
from lbproxy.tls.certificates import CertificateError

__all__ = ["admin_problems"]

T = TypeVar("T")


def admin_problems(config: Config, make: Callable[[], T]) -> T:
    """Return ``make()``; ConfigErrors for what is wrong with tokens and keys."""
    problems = Problems()
    try:
        return make()
    except TokenError as error:
        where = config.place(config.settings.where, "lbproxy", "admin_tokens")
        problems.add_exception(where, "lbproxy", "admin_tokens", error)
    except CertificateError as error:
        problems.add_exception(config.settings.admin[0].where, "lbproxy", "admin", error)
    problems.raise_if_any()
    raise AssertionError("one of them was raised")
