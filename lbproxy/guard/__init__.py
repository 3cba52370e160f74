"""PURE. Address lists, connection limits, and judgement of targets that others name.

:class:`Guard`, :class:`AddressJudge` and :class:`AllowedTarget` are the guard against server-side
request forgery, usable in other programs: see :mod:`lbproxy.guard.target`.
"""

from lbproxy.guard.judge import AddressJudge, TargetRefused
from lbproxy.guard.target import AllowedTarget, Guard

__all__ = ["AddressJudge", "AllowedTarget", "Guard", "TargetRefused"]
