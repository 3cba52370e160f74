"""PURE. Address lists, connection limits, and checks of targets that clients name.

:class:`Guard`, :class:`AddressJudge` and :class:`AllowedTarget` protect against server-side request
forgery, and other programs can use them: see :mod:`lbproxy.guard.target`.
"""

from lbproxy.guard.judge import AddressJudge, TargetRefused
from lbproxy.guard.target import AllowedTarget, Guard

__all__ = ["AddressJudge", "AllowedTarget", "Guard", "TargetRefused"]
