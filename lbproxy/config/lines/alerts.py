"""PURE. Lines of ``[alerts]``: rules, and destinations of notices."""

from __future__ import annotations

from typing import Any

from lbproxy.config.line import Line, options_line
from lbproxy.model import CommandSpec, MailSpec, RuleSpec, WebhookSpec

__all__ = ["COMMAND", "MAIL", "RULE", "WEBHOOK"]


def _line(name: str, cls: type[Any]) -> Line:
    intro = (cls.__doc__ or "").partition(": ")[2]
    return options_line(
        name, cls, words=f"{name} lines (see `{name} line`)", intro=intro, unique=cls is RuleSpec
    )


WEBHOOK = _line("webhook", WebhookSpec)
MAIL = _line("mail", MailSpec)
COMMAND = _line("command", CommandSpec)
RULE = _line("rule", RuleSpec)
