"""DATA. ``bans`` of frontends: the ledger of :mod:`lbproxy.bans` applied to traffic.

:mod:`~lbproxy.proxy.features.banning.spec` has ``[ban NAME]``,
:mod:`~lbproxy.proxy.features.banning.book` the bans of one section, which all processes share, and
:mod:`~lbproxy.proxy.features.banning.feature` those of a frontend.
"""
