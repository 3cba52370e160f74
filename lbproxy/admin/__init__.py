"""CONTROL. The admin side: an HTTP API, metrics and event streams, beside the data path.

:mod:`lbproxy.admin.parts` has one module for each feature: its state, operations and metrics. The
other modules serve them: :mod:`~lbproxy.admin.server` is the service, :mod:`~lbproxy.admin.channel`
and :mod:`~lbproxy.admin.request` handle connections and requests, and :mod:`~lbproxy.admin.route`
defines the elements of a part.
"""
