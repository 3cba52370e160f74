"""DATA. ``[track NAME]``: counts per key over a window, for conditions, bans and operators.

:mod:`~lbproxy.proxy.features.tracking.spec` has the section and the key ``tracks``,
:mod:`~lbproxy.proxy.features.tracking.track` one track, which all processes of the machine share,
and :mod:`~lbproxy.proxy.features.tracking.feature` those of a frontend.
"""
