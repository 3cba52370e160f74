"""DATA. The feature ``waf``: a firewall in front of the servers of a route.

- ``spec`` has the section ``[waf NAME]`` and the keys.
- ``firewall`` judges heads and bodies by the rules of :mod:`lbproxy.waf`.
- ``feature`` attaches it to a route: a hook judges the head, ``held`` holds the body until it is
  judged.
"""
