"""DATA. System errors in plain words, for logs and error messages."""

from __future__ import annotations

import errno
import os
from ipaddress import ip_address
from typing import Any

from lbproxy.errors import ListenError
from lbproxy.model import Address

__all__ = ["error_words", "refusal"]


def error_words(problem: Any) -> str:
    """Return the system's text for an exception or an error of Twisted, without numbers and class
    names.
    """
    code = getattr(problem, "osError", None) or getattr(problem, "errno", None)
    if isinstance(code, OSError):
        code = code.errno
    if isinstance(code, int) and code > 0:
        return os.strerror(code)
    return str(problem).rstrip(".") or type(problem).__name__


def refusal(address: Address, problem: Any) -> ListenError:
    """Return the error for a failed listen on ``address``, with a hint if one is known."""
    code = getattr(problem, "errno", None)
    hint = ""
    if code == errno.EADDRINUSE:
        hint = " (another program listens there)"
    elif code in (errno.EACCES, errno.EPERM) and address.kind == "tcp" and address.port < 1024:
        hint = " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
    elif code == errno.EADDRNOTAVAIL:
        hint = " (no interface of this machine has this address)"
    elif address.kind == "tcp" and address.host and not _is_literal(address.host):
        hint = " (write an IP address)"
    return ListenError(f"cannot listen on {address}: {error_words(problem)}{hint}")


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
