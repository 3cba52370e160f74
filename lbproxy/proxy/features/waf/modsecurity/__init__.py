"""DATA. Rules of ModSecurity, such as the OWASP Core Rule Set: ``rules = FOLDER`` of a firewall.

libmodsecurity takes about a millisecond for a request, and its regular expressions can take longer.
Processes of their own run it, so the event loop never waits.

- ``library`` calls the C interface of libmodsecurity by ctypes.
- ``files`` finds the files of a rule set, ``directives`` writes what goes before and between them.
- ``judge`` loads rules and judges requests, in the process that calls it.
- ``process`` is the main program of a process around a judge, ``messages`` its protocol.
- ``child`` is one such process as lbproxy sees it, ``pool`` all those of a firewall.
- ``firewall`` asks the pool about a request and acts on the answer, ``held`` is the source that
  holds the request meanwhile, ``responses`` holds the response.
"""
