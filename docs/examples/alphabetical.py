"""A balancer: the first server by name that is not busy."""

from attrs import frozen

from lbproxy.balance.base import Balancer
from lbproxy.config.model import option


@frozen
class Options:
    busy: int = option("int", 10, min=1, doc="leases from which a server counts as busy")


class Alphabetical(Balancer):
    """Servers in alphabetical order, each up to ``busy`` leases; then the least loaded one."""

    name = "alphabetical"
    Options = Options

    def servers_changed(self, servers):
        self.servers = sorted(servers, key=lambda server: server.name)

    def pick(self, context, avoid):
        able = [s for s in self.servers if not s.full and s not in avoid]
        calm = [s for s in able if s.active < self.options.busy]
        return calm[0] if calm else min(able, key=lambda s: s.active, default=None)

    def scores(self, context):
        busy = self.options.busy
        return [
            (s, place + (100 if s.active >= busy else 0), f"{s.active} active, busy from {busy}")
            for place, s in enumerate(self.servers)
        ]
