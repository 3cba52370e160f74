"""DATA. Rules of ModSecurity, such as the OWASP Core Rule Set: ``rules = FOLDER`` of a firewall.

libmodsecurity takes about a millisecond for a request, and its regular expressions can take longer.
It runs in separate processes, so the event loop never waits.

- ``library`` calls the C interface of libmodsecurity with ctypes.
- ``files`` finds the files of a rule set; ``directives`` writes directives around them.
- ``judge`` loads rules and judges requests in the calling process.
- ``process`` is the main program of a process with a judge; ``messages`` is its protocol.
- ``child`` controls one such process; ``pool`` manages all processes of a firewall.
- ``firewall`` sends a request to the pool and acts on the answer. ``held`` is the source that holds
  the request meanwhile; ``responses`` holds the response.
"""
