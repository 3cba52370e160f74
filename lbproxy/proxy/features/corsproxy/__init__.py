"""DATA. ``mode = corsproxy``: a frontend that fetches the URLs that its callers name.

:mod:`lbproxy.cors` has the rules for calls, and :mod:`lbproxy.guard` has those for targets. A
request first passes the gate (``gate.py``), which answers preflights and refuses calls. The source
(``source.py``) then resolves and judges the target, connects, streams, and follows redirects.
"""
