"""DATA. The feature ``pacing``: clients that send or read too slowly.

- ``spec`` has the keys.
- ``taken`` says how much a client has read.
- ``feature`` looks at all clients of a frontend once a second.
"""
