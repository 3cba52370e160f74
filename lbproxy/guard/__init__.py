"""PURE. Address lists, connection limits, and judgement of targets that others name.

:class:`Guard`, :class:`AddressJudge` and :class:`Target` are the guard against server-side request
forgery, usable in other programs: see :mod:`lbproxy.guard.target`.
"""

from lbproxy.guard.judge import AddressJudge, Refused
from lbproxy.guard.target import Guard, Target

__all__ = ["AddressJudge", "Guard", "Refused", "Target"]
