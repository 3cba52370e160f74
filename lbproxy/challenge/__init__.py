"""PURE. The challenge for browsers: a signed proof of work, and a page that solves it.

- ``proof`` creates and checks tokens, answers and passes.
- ``page`` is the page, ``script`` its program.
- ``crawlers`` is the table of crawlers that DNS can verify.

``proxy/features/challenge/`` is the feature.
"""
