"""DATA. ``[list NAME]``: named lists of addresses for ``allow``, ``deny`` and conditions.

:mod:`~lbproxy.proxy.features.listing.spec` has the section,
:mod:`~lbproxy.proxy.features.listing.source` reads it, and
:mod:`~lbproxy.proxy.features.listing.feature` gives the lists to a frontend.
"""
