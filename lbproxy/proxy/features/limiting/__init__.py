"""DATA. ``limits`` of frontends and routes: the rules of :mod:`lbproxy.limits` applied to traffic.

:mod:`~lbproxy.proxy.features.limiting.spec` has ``[limit NAME]``,
:mod:`~lbproxy.proxy.features.limiting.limit` one limit in use, and
:mod:`~lbproxy.proxy.features.limiting.feature` those of a frontend.
"""
