"""DATA. The feature ``shed``: an overloaded process refuses a share of its traffic.

- ``spec`` has the key, and the option of routes.
- ``load`` measures how late the reactor is, and memory.
- ``feature`` is the hook; :mod:`lbproxy.health.overload` decides.
"""
