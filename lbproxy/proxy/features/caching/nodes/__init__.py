"""DATA. The store of a cache that several nodes share: memory over Redis.

The memory of each process holds copies of responses in Redis. :mod:`.tier` communicates with Redis,
and :mod:`.store` places it under the memory of a cache.
"""
