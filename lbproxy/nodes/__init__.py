"""CONTROL. ``[shared]``: the state that several nodes share through Redis.

:mod:`lbproxy.service` has one :class:`~lbproxy.nodes.store.SharedStore` for each process. Every
process with traffic exchanges counts of limits, tracks and bans (:mod:`~lbproxy.nodes.exchange`).
One process of each node exchanges the messages of bans and lists (:mod:`~lbproxy.nodes.topics`). No
request waits for either.
"""
