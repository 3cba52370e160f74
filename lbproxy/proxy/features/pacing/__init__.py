"""DATA. The feature ``pacing``: clients that send or read too slowly.

- ``spec`` has the keys.
- ``taken`` measures how much a client has read.
- ``feature`` checks all clients of a frontend once a second.
"""
