"""PURE. Words of HAProxy, nginx and others, with their equivalents in lbproxy.

An unknown key, option or section in one of the tables of :mod:`lbproxy.config.foreignkeys` and
:mod:`lbproxy.config.foreignwords` is answered with the text in the table, instead of the nearest
word.
"""

from __future__ import annotations

from lbproxy.config.foreignkeys import KEYS
from lbproxy.config.foreignwords import CONDITIONS, OPTIONS, PLUGINS, SECTIONS

__all__ = [
    "foreign_condition",
    "foreign_key",
    "foreign_option",
    "foreign_plugin",
    "foreign_section",
]


def _said(text: str | None) -> str:
    return f"in lbproxy this is {text}" if text else ""


def foreign_section(kind: str) -> str:
    """Return the equivalent of another program's ``[kind]``, or ""."""
    return _said(SECTIONS.get(kind.lower()))


def foreign_key(key: str) -> str:
    """Return the equivalent of another program's key, or "".

    Words after the first one, as in ``timeout connect``, are ignored.
    """
    return _said(KEYS.get(key.split(maxsplit=1)[0].lower() if key.split() else ""))


def foreign_plugin(kind: str, name: str) -> str:
    """Return the equivalent of another program's balancer, filter or check, or ""."""
    return _said(PLUGINS.get(kind, {}).get(name.lower()))


def foreign_condition(word: str) -> str:
    """Return the equivalent of another program's condition or of its word for a route, or "".

    An argument in parentheses, as in ``hdr(host)``, is ignored.
    """
    return _said(CONDITIONS.get(word.partition("(")[0].lower()))


def foreign_option(word: str) -> str:
    """Return the equivalent of another program's option of a server or listener, or ""."""
    return _said(OPTIONS.get(word.lower()))
