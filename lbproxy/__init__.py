"""lbproxy: a TCP and HTTP load balancer and reverse proxy on Twisted.

Use it as ``twistd lbproxy --config lb.ini``, as the ``lbproxy`` command, or as
a library: :class:`lbproxy.service.LoadBalancer` is an ordinary Twisted service.
"""

from pathlib import Path

from lbproxy import compiled

__all__ = ["__version__"]

__version__ = "0.1.0"

compiled.settle(Path(__file__).parent)  # before any other module is imported
