"""PURE. The firewall: rules in data form, and the engine that judges requests with them.

- ``target`` has the parts of a request (path, arguments, cookies, headers, body) by zone; ``body``
  reads bodies.
- ``decode`` undoes encodings, so that one pattern covers all spellings of an attack.
- ``rule`` has the class of a rule, ``rules`` the built-in ones, each with examples.
- ``engine`` compiles the rules with google-re2, whose time is linear in the text, and judges.
- ``exclusion`` and ``examples``: rules that do not hold somewhere, and the self-test of the rules.
"""
