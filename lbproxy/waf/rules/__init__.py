"""PURE. The built-in rules, one file per class of attack."""

from __future__ import annotations

from lbproxy.waf.rule import Rule
from lbproxy.waf.rules.code import CODE
from lbproxy.waf.rules.commands import COMMANDS
from lbproxy.waf.rules.files import FILES
from lbproxy.waf.rules.protocol import PROTOCOL
from lbproxy.waf.rules.scanners import SCANNERS
from lbproxy.waf.rules.sql import SQL
from lbproxy.waf.rules.xss import XSS

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = (*PROTOCOL, *SCANNERS, *FILES, *COMMANDS, *CODE, *XSS, *SQL)
"""The rules in the order of their ids."""
