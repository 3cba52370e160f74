"""PURE. The firewall: rules as data, and the engine that applies them to requests.

- ``target`` splits a request into parts (path, arguments, cookies, headers, body) by zone;
  ``body`` parses bodies.
- ``decode`` undoes encodings, so that one pattern covers all spellings of an attack.
- ``rule`` has the class of a rule, ``rules`` the built-in ones, each with examples.
- ``engine`` compiles the rules with google-re2, whose time is linear in the text, and evaluates
  them.
- ``exclusion`` disables rules for some parts of requests; ``examples`` is the self-test of the
  rules.
"""
