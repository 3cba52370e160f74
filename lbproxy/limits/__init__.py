"""PURE. Limits of the use of a key, by rate or by concurrency.

Time is an argument of every call, in seconds of a monotonic clock. A key is text; the caller
decides its content.

- :mod:`~lbproxy.limits.cells` stores numbers for many keys in a bounded piece of memory, which
  processes may share.
- :mod:`~lbproxy.limits.bucket` and :mod:`~lbproxy.limits.window` are the two methods of a rate;
  :mod:`~lbproxy.limits.atonce` limits concurrent use.
- :mod:`~lbproxy.limits.asking` checks several limits before it charges any.
- :mod:`~lbproxy.limits.fields` writes ``RateLimit`` and ``RateLimit-Policy``.
"""
