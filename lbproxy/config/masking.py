"""PURE. Removal of secrets from a configuration that is shown.

:mod:`lbproxy.model.secrets` defines the names and shapes of secrets.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import attrs

from lbproxy.model.secrets import (
    MASK,
    mask_condition,
    mask_text,
    mask_words,
    secret_header,
    secret_name,
)

__all__ = ["is_secret", "masked", "redact"]

_LOGIN = re.compile(r"auth|pass", re.IGNORECASE)
_SHORTEST = 6  # minimum length of a part of a secret that is recognised within a message


def is_secret(f: attrs.Attribute[Any], names: Any, get: Callable[[str], Any]) -> bool:
    """Return whether the value of ``f`` must not be shown.

    ``names``: the fields beside it. ``get`` returns their values (or texts), or None.
    """
    value = get(f.name)
    if not value:
        return False
    if f.metadata.get("secret") or f.metadata.get("kind") == "secret" or secret_name(f.name):
        return True
    if f.name == "value":  # the name of a header that a filter sets
        header = get("header")
        return isinstance(header, str) and secret_header(header)
    if f.name in ("header", "send") and isinstance(value, str) and "value" not in names:
        return secret_header(value) or (f.name == "send" and _LOGIN.search(value) is not None)
    return False


def masked(value: Any) -> Any:
    """Return a copy of a spec, or of a part of one, with :data:`MASK` in place of secrets."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, tuple):
        if _is_condition(value):
            verb, args, negated = value
            return verb, mask_condition(verb, args), negated
        if value and all(isinstance(item, str) for item in value):
            return mask_words(value)
        return tuple(masked(item) for item in value)
    if not attrs.has(type(value)):
        return value
    made = copy.copy(value)
    fields = attrs.fields_dict(type(value))
    for f in fields.values():
        own = getattr(value, f.name)
        if is_secret(f, fields, lambda name: getattr(value, name, None)):
            shown: Any = MASK
        else:
            shown = masked(own)
        object.__setattr__(made, f.name, shown)  # bypasses the validators; the copy is only shown
    return made


def _is_condition(value: tuple[Any, ...]) -> bool:
    """Return whether ``value`` is a :data:`lbproxy.model.Condition`, wherever it stands."""
    return len(value) == 3 and [type(part) for part in value] == [str, tuple, bool]


def redact(message: str, secret: str) -> str:
    """Return ``message`` without ``secret``, long parts of it, and their ``repr``."""
    for form in {secret, repr(secret)[1:-1]}:
        if len(form) < _SHORTEST:
            message = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", MASK, message) if form else message
        else:
            message = _cut(message, form)
    return message


def _cut(message: str, secret: str) -> str:
    out, at = "", 0
    while at < len(message):
        end = at + _SHORTEST
        if message[at:end] not in secret or end > len(message):
            out += message[at]
            at += 1
            continue
        while end < len(message) and message[at : end + 1] in secret:
            end += 1
        out, at = out + MASK, end
    return out
