"""DATA. The log of :mod:`lbproxy.proxy.guarding`, separate because that module works without
Twisted.
"""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from lbproxy.proxy.ratelog import Quiet

__all__ = ["quiet"]

quiet: Final = Quiet(Logger(__name__))
