"""PURE. State that several processes share: two contracts, and their implementations for a single
process.

:class:`~lbproxy.sharing.contracts.Shared` is synchronous and holds for the processes of this
machine; the data path uses nothing else.  :class:`~lbproxy.sharing.contracts.Replicated` is
asynchronous and eventual; no request waits for it.  Worker processes have implementations of their
own (:mod:`lbproxy.workers.shared`, :mod:`lbproxy.workers.replicated`).
"""
