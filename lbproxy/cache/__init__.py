"""PURE. HTTP caching (RFC 9111): which responses may be stored, how long they are fresh, and which
requests they may answer.

The rules use heads and numbers, but no sockets, clocks or files.

- :mod:`~lbproxy.cache.control` reads Cache-Control, :mod:`~lbproxy.cache.targeted` the fields that
  address one kind of cache (RFC 9213).
- :mod:`~lbproxy.cache.freshness` computes ages and lifetimes, :mod:`~lbproxy.cache.storing` decides
  what may be stored, and :mod:`~lbproxy.cache.serving` what a stored response may be used for.
- :mod:`~lbproxy.cache.key` and :mod:`~lbproxy.cache.vary` select a stored response,
  :mod:`~lbproxy.cache.conditions` and :mod:`~lbproxy.cache.ranges` turn it into a 304 or a 206, and
  :mod:`~lbproxy.cache.updating` refreshes it.
- :mod:`~lbproxy.cache.memory` keeps stored responses within a bound of bytes.
"""
