"""Descriptor limits become a bound on clients."""

import resource

from lbproxy.net.descriptors import MAX_PIPES, client_bound, pipe_bound, raise_limit


def test_every_client_may_need_two_descriptors() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1064, before[1]), before[1]))
        assert (client_bound(), pipe_bound()) == (484, 16)
        assert 2 * client_bound() + 2 * pipe_bound() + 64 == 1064
        assert raise_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
        assert pipe_bound() <= MAX_PIPES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
