"""PURE. Limits: how much a key may use in a time, or at once.

Time is an argument of every call, in seconds of a monotonic clock.  A key is text; the caller
decides what it consists of.

- :mod:`~lbproxy.limits.cells` keeps numbers for many keys in a bounded piece of memory, which
  processes may share.
- :mod:`~lbproxy.limits.bucket` and :mod:`~lbproxy.limits.window` are the two methods of a rate,
  :mod:`~lbproxy.limits.atonce` limits what runs at once.
- :mod:`~lbproxy.limits.asking` asks several limits before it charges any.
- :mod:`~lbproxy.limits.fields` writes ``RateLimit`` and ``RateLimit-Policy``.
"""
