"""DATA. The states of an exchange.

========= ========================================================== ===========================
state     meaning                                                    next
========= ========================================================== ===========================
ASKED     filters of phases ``early`` and ``request``, and the route WAITING, FAILING, OVER
WAITING   a source has the request; there is no final head           ANSWERING, TUNNEL, FAILING,
                                                                     OVER
ANSWERING a :class:`~lbproxy.proxy.http.delivery.Delivery` has the   WAITING, FAILING, OVER
          response: filters of phase ``response``, head and body
TUNNEL    a :class:`~lbproxy.proxy.http.tunnel.Tunnel`               OVER
FAILING   filters of phase ``failed``                                WAITING, OVER
OVER      counted and logged                                         -
========= ========================================================== ===========================
"""

from __future__ import annotations

from enum import Enum

__all__ = ["ExchangeState"]


class ExchangeState(Enum):
    """See the module."""

    ASKED = 0
    WAITING = 1
    ANSWERING = 2
    TUNNEL = 3
    FAILING = 4
    OVER = 5
