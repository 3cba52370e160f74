"""DATA. ctypes bindings of libmodsecurity: the functions of ``modsecurity.h`` that lbproxy uses.

The C interface has been stable since version 3.0. The packages that wrap it need a compiler;
ctypes needs only the library (Debian: ``libmodsecurity3``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any, Final

from attrs import frozen

__all__ = ["Intervention", "Library", "MissingLibrary", "RuleSet", "RulesError", "Transaction"]

NAME: Final = "libmodsecurity.so.3"

_P, _S, _I, _Z = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_LOGGER: Final = ctypes.CFUNCTYPE(None, _P, _P)

_NO_LOG: Final = _LOGGER(lambda _, __: None)
"""Drops log lines. Without a callback the library writes to standard error."""

_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "msc_init": (_P, ()),
    "msc_who_am_i": (_S, (_P,)),
    "msc_set_connector_info": (None, (_P, _S)),
    "msc_set_log_cb": (None, (_P, _LOGGER)),
    "msc_cleanup": (None, (_P,)),
    "msc_create_rules_set": (_P, ()),
    "msc_rules_add": (_I, (_P, _S, ctypes.POINTER(_S))),
    "msc_rules_add_file": (_I, (_P, _S, ctypes.POINTER(_S))),
    "msc_rules_cleanup": (_I, (_P,)),
    "msc_new_transaction_with_id": (_P, (_P, _P, _S, _P)),
    "msc_transaction_cleanup": (None, (_P,)),
    "msc_process_connection": (_I, (_P, _S, _I, _S, _I)),
    "msc_process_uri": (_I, (_P, _S, _S, _S)),
    "msc_add_n_request_header": (_I, (_P, _S, _Z, _S, _Z)),
    "msc_process_request_headers": (_I, (_P,)),
    "msc_append_request_body": (_I, (_P, _S, _Z)),
    "msc_process_request_body": (_I, (_P,)),
    "msc_add_n_response_header": (_I, (_P, _S, _Z, _S, _Z)),
    "msc_process_response_headers": (_I, (_P, _I, _S)),
    "msc_append_response_body": (_I, (_P, _S, _Z)),
    "msc_process_response_body": (_I, (_P,)),
    "msc_process_logging": (_I, (_P,)),
    "msc_intervention": (_I, (_P, _P)),
}


class MissingLibrary(ValueError):
    """libmodsecurity is not installed."""


class RulesError(ValueError):
    """Rules that libmodsecurity does not accept."""


class _Intervention(ctypes.Structure):
    """``ModSecurityIntervention`` of ``intervention.h``. The caller owns the texts."""

    _fields_ = (("status", _I), ("pause", _I), ("url", _P), ("log", _P), ("disruptive", _I))


@frozen
class Intervention:
    """An order of a rule to end the transaction.

    ``status``: of the response. ``url``: of a redirect.
    """

    status: int
    url: str


class Library:
    """libmodsecurity, loaded and initialised. Raises MissingLibrary if it is not installed."""

    def __init__(self, name: str = NAME) -> None:
        try:
            self.c: Any = ctypes.CDLL(name)
        except OSError:
            message = f"'rules' needs {NAME}: install the package libmodsecurity3"
            raise MissingLibrary(message) from None
        for function, (result, arguments) in _FUNCTIONS.items():
            found = getattr(self.c, function)
            found.restype, found.argtypes = result, arguments
        self._free = ctypes.CDLL(None).free
        self._free.restype, self._free.argtypes = None, (_P,)
        self.handle = self.c.msc_init()
        self.c.msc_set_connector_info(self.handle, b"lbproxy")
        self.c.msc_set_log_cb(self.handle, _NO_LOG)

    @property
    def version(self) -> str:
        """The name and version that the library reports."""
        found: bytes = self.c.msc_who_am_i(self.handle)
        return found.decode()

    def rule_set(self) -> RuleSet:
        """Return a new rule set without rules."""
        return RuleSet(self)

    def close(self) -> None:
        """Free the library; no rule set and no transaction may exist."""
        if self.handle:
            self.c.msc_cleanup(self.handle)
            self.handle = None

    def take_text(self, pointer: int | None) -> str:
        """Return a text that the library has allocated, and free it."""
        if not pointer:
            return ""
        text = ctypes.string_at(pointer).decode("utf-8", "replace")
        self._free(pointer)
        return text


class RuleSet:
    """Rules that transactions use. ``owner``: the library that has them."""

    def __init__(self, library: Library) -> None:
        self.owner = library
        self.handle = library.c.msc_create_rules_set()

    def add(self, text: str) -> int:
        """Add directives, and return the number of rules. Raises RulesError."""
        return self._added(self.owner.c.msc_rules_add, text)

    def add_file(self, path: str) -> int:
        """Add the directives of a file, and return the number of rules. Raises RulesError."""
        return self._added(self.owner.c.msc_rules_add_file, path)

    def _added(self, function: Any, text: str) -> int:
        error = _S()
        count: int = function(self.handle, text.encode(), ctypes.byref(error))
        if count < 0:
            raise RulesError((error.value or b"unknown error").decode("utf-8", "replace"))
        return count

    def transaction(self, name: str) -> Transaction:
        """Begin a transaction with the id ``name``."""
        return Transaction(self, name)

    def close(self) -> None:
        """Free the rules; no transaction may exist."""
        if self.handle:
            self.owner.c.msc_rules_cleanup(self.handle)
            self.handle = None


class Transaction:
    """One request and its response. Call the methods in the order of this class."""

    def __init__(self, rules: RuleSet, name: str) -> None:
        self._library = rules.owner
        self._c = rules.owner.c
        handle = rules.owner.handle
        self._handle = self._c.msc_new_transaction_with_id(
            handle, rules.handle, name.encode(), None
        )

    def connection(self, client: tuple[str, int], server: tuple[str, int]) -> None:
        """Set the addresses of the client and of the listener."""
        (ip, port), (local_ip, local_port) = client, server
        self._c.msc_process_connection(
            self._handle, ip.encode(), port, local_ip.encode(), local_port
        )

    def request_line(self, method: bytes, target: bytes, version: str) -> None:
        """Set the request line. ``version``: such as ``1.1``."""
        self._c.msc_process_uri(self._handle, target, method, version.encode())

    def request_headers(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Add the headers, and run phase 1."""
        add = self._c.msc_add_n_request_header
        for name, value in pairs:
            add(self._handle, name, len(name), value, len(value))
        self._c.msc_process_request_headers(self._handle)

    def request_body(self, data: bytes) -> None:
        """Set the body, and run phase 2."""
        if data:
            self._c.msc_append_request_body(self._handle, data, len(data))
        self._c.msc_process_request_body(self._handle)

    def response_headers(self, status: int, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set the status, add the headers, and run phase 3."""
        add = self._c.msc_add_n_response_header
        for name, value in pairs:
            add(self._handle, name, len(name), value, len(value))
        self._c.msc_process_response_headers(self._handle, status, b"HTTP/1.1")

    def response_body(self, data: bytes) -> None:
        """Set the body of the response, and run phase 4."""
        if data:
            self._c.msc_append_response_body(self._handle, data, len(data))
        self._c.msc_process_response_body(self._handle)

    def intervention(self) -> Intervention | None:
        """Return the intervention of a rule since the last call, None if there is none."""
        found = _Intervention(200, 0, None, None, 0)
        if not self._c.msc_intervention(self._handle, ctypes.byref(found)):
            return None
        self._library.take_text(found.log)
        return Intervention(found.status, self._library.take_text(found.url))

    def close(self) -> None:
        """Run phase 5, which writes the audit log, and free the transaction."""
        if self._handle:
            self._c.msc_process_logging(self._handle)
            self._c.msc_transaction_cleanup(self._handle)
            self._handle = None
