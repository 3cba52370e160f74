"""PURE. HTTP messages, codecs, routing, forwarding and rewriting; no Twisted, no sockets,
no clock.
"""
