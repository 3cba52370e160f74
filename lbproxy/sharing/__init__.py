"""PURE. State that several processes share: two contracts, and their implementations for a single
process.

:class:`~lbproxy.sharing.contracts.Shared` is synchronous and covers the processes of this machine;
the data path uses only this one. :class:`~lbproxy.sharing.contracts.Replicated` is asynchronous and
eventually consistent; no request waits for it. Worker processes have their own implementations
(:mod:`lbproxy.workers.shared`, :mod:`lbproxy.workers.replicated`).
"""
