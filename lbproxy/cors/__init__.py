"""PURE. The rules of a CORS proxy: calls, origins, preflights, header fields and redirects.

``mode = corsproxy`` (:mod:`lbproxy.proxy.features.corsproxy`) applies these rules to traffic.
:mod:`lbproxy.guard` decides whether a target may be reached at all.
"""
