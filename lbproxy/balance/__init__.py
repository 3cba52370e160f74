"""PURE. The choice of a server for each connection or request.

A pick returns a lease, which holds one unit of the server's capacity.
"""
