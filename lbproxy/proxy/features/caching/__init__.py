"""DATA. The feature ``cache``: an RFC 9111 cache in front of the servers of a route.

- ``spec`` has the section ``[cache NAME]``, ``cache`` the object that serves it.
- ``source`` is what an exchange asks: it answers from the store, or begins a ``fetch``, whose
  response each waiting exchange gets by a ``reader``.
- ``answers`` has the heads and bodies of what comes from the store.

The rules are in :mod:`lbproxy.cache`.
"""
