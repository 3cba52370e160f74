"""DATA. The store of a cache that several nodes share: memory over Redis.

The memory of each process holds copies of what is in Redis. :mod:`.tier` speaks with Redis,
:mod:`.store` puts it under the memory of a cache.
"""
