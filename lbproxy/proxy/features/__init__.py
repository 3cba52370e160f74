"""DATA. Features of a backend: hedging, mirroring, passive health, rebalancing, slow start,
connections opened in advance.
"""
