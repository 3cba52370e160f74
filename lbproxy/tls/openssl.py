"""DATA. Functions of OpenSSL for which pyOpenSSL has no public method.

This is the only module that uses private names of pyOpenSSL. Each name is looked up once. If one is
missing, its user works without it or reports that the feature is unavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL

__all__ = ["clear_errors", "ffi", "raise_of", "set_groups", "ssl_of", "ssl_read", "ssl_write"]

_lib: Any = getattr(SSL, "_lib", None)
ffi: Any = getattr(SSL, "_ffi", None)

ssl_read: Any = getattr(_lib, "SSL_read", None)
ssl_write: Any = getattr(_lib, "SSL_write", None)

clear_errors: Any = getattr(_lib, "ERR_clear_error", None) or (lambda: None)
"""Clear OpenSSL's error queue. Call it after a method of pyOpenSSL has raised, because an entry may
be left in the queue.
"""


def ssl_of(connection: Any) -> Any:
    """Return the ``SSL *`` of a pyOpenSSL Connection."""
    return connection._ssl


def raise_of(connection: Any) -> Any:
    """Return the function that raises the exception for a result of ``SSL_read`` or ``SSL_write``;
    None if it does not exist.
    """
    return getattr(connection, "_raise_ssl_error", None)


def set_groups(context: SSL.Context, groups: Sequence[str]) -> bool:
    """Allow only ``groups`` (OpenSSL's names, best first) for key exchange.

    Return False if OpenSSL does not know one of them. Raises AttributeError if groups cannot be
    chosen with this version.
    """
    done: int = _lib.SSL_CTX_set1_curves_list(
        context._context,
        ":".join(groups).encode("ascii", "replace"),
    )
    clear_errors()
    return done == 1
