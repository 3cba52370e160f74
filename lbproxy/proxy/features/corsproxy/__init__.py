"""DATA. ``mode = corsproxy``: a frontend that fetches the URLs its callers name.

:mod:`lbproxy.cors` has the rules for calls and :mod:`lbproxy.guard` those for targets.  A request
first passes the gate (``gate.py``), which answers preflights and refusals.  The source
(``source.py``) then resolves, judges, connects and streams, and follows redirects.
"""
