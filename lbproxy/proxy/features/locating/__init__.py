"""DATA. ``[lbproxy] geoip``: country and network of clients, from MaxMind files.

:mod:`~lbproxy.proxy.features.locating.table` reads the files, and
:mod:`~lbproxy.proxy.features.locating.feature` gives them to conditions, variables and logs.
"""
