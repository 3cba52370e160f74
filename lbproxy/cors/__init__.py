"""PURE. The rules of a CORS proxy: calls, origins, preflights, header fields and redirects.

``mode = corsproxy`` (:mod:`lbproxy.proxy.features.corsproxy`) applies these rules to traffic.
Whether a target may be reached at all is decided by :mod:`lbproxy.guard`.
"""
