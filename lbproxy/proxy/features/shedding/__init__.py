"""DATA. The feature ``shed``: an overloaded process refuses a share of its traffic.

- ``spec`` has the key, and the option of routes.
- ``load`` measures the lag of the reactor, and memory.
- ``feature`` is the hook; :mod:`lbproxy.health.overload` decides.
"""
