"""The route table of proxy.py: everything goes to the servers named in ``BENCH_SERVERS``."""

import os

from proxy.http.server import ReverseProxyBasePlugin


class BenchPlugin(ReverseProxyBasePlugin):
    """proxy.py picks one of the addresses at random."""

    def routes(self):
        """Every path."""
        servers = os.environ["BENCH_SERVERS"].split(",")
        path = os.environ["BENCH_PATH"]
        return [(r"/.*", [f"http://{server}{path}".encode() for server in servers])]
