"""A balancer: the last server of the list that has room."""

from lbproxy.balance.base import Balancer


class Last(Balancer):
    name = "last"

    def servers_changed(self, servers):
        self.servers = list(reversed(servers))

    def pick(self, context, avoid):
        able = (one for one in self.servers if not one.full and one not in avoid)
        return next(able, None)

    def scores(self, context):
        return [(one, place, f"place {place}") for place, one in enumerate(self.servers)]
