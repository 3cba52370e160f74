"""DATA. Functions of OpenSSL for which pyOpenSSL has no public method.

The only module that uses private names of pyOpenSSL. Each is looked up once; where one is missing,
its user does without or says that it cannot.
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
"""To be called when a method of pyOpenSSL has raised and something may be left in OpenSSL's list.
"""


def ssl_of(connection: Any) -> Any:
    """The ``SSL *`` of a pyOpenSSL Connection."""
    return connection._ssl


def raise_of(connection: Any) -> Any:
    """The function that raises what a result of ``SSL_read`` or ``SSL_write`` means; None if there
    is none.
    """
    return getattr(connection, "_raise_ssl_error", None)


def set_groups(context: SSL.Context, groups: Sequence[str]) -> bool:
    """Let key exchange use only ``groups`` (OpenSSL's names), best first.

    False: OpenSSL does not know one of them.  AttributeError: it cannot be chosen here."""
    done: int = _lib.SSL_CTX_set1_curves_list(
        context._context,
        ":".join(groups).encode("ascii", "replace"),
    )
    clear_errors()
    return done == 1
