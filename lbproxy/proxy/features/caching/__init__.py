"""DATA. The feature ``cache``: an RFC 9111 cache in front of the servers of a route.

- ``spec`` has the section ``[cache NAME]``, ``cache`` the object that serves it.
- ``source`` handles each exchange: it answers from the store, or starts a ``fetch``. Each waiting
  exchange gets the response through a ``reader``.
- ``answers`` builds the heads and bodies of responses from the store.

The rules are in :mod:`lbproxy.cache`.
"""
