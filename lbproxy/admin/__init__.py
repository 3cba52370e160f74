"""CONTROL. The admin side: an HTTP API, metrics and event streams, beside the data path.

:mod:`lbproxy.admin.parts` has one module for each feature: what it shows, takes and counts. The
rest serves them: :mod:`~lbproxy.admin.server` (the service), :mod:`~lbproxy.admin.channel` and
:mod:`~lbproxy.admin.request` (connections and requests), :mod:`~lbproxy.admin.route` (what a part
is made of).
"""
