"""CONTROL. ``[shared]``: the state that several nodes share through Redis.

:mod:`lbproxy.service` has one :class:`~lbproxy.nodes.store.SharedStore` for each process.  Counts
of limits, tracks and bans go through every process that has traffic
(:mod:`~lbproxy.nodes.exchange`), the messages of bans and lists through one process of each node
(:mod:`~lbproxy.nodes.topics`).  No request waits for either.
"""
