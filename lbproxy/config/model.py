"""PURE. The configuration as frozen objects, for extension authors: the names of
:mod:`lbproxy.model`.
"""

from __future__ import annotations

from lbproxy.model import *  # noqa: F403
from lbproxy.model import __all__  # noqa: F401
