"""A feature of frontends: a client has so many requests a minute at all nodes together."""

from attrs import define, frozen
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from lbproxy.config.model import option
from lbproxy.http.message import Reply
from lbproxy.proxy.feature import Feature, counted
from lbproxy.sharing.contracts import Rate

log = Logger()
MOST = 10_000  # clients that are remembered


@frozen
class Keys:
    quota: int = option("int", 0, min=0, doc="requests a minute of a client; 0: no limit")


@define(eq=False)
class Counters:
    quota_refused: int = counted("Requests refused by quota.")


class Quota(Feature):
    name = "quota"
    owner = "frontend"
    keys = ("quota",)
    Keys = Keys
    Counters = Counters

    def __init__(self, limit, given):
        self.rate = Rate(limit, 60.0, limit)
        self.now = given.env.now
        self.state = given.replicated
        self.key = f"quota:{given.env.name}:"
        self.refused_until = {}  # by client

    @classmethod
    def prepare(cls, spec, old, given):
        if not spec.quota:
            return None
        return old if old is not None and old.rate.amount == spec.quota else cls(spec.quota, given)

    def around(self, phases):
        return phases.before(request=self.request)

    def request(self, exchange):
        """Decide by what is known; the store is asked in the background, for the next request."""
        client = exchange.client_ip
        wait = self.refused_until.get(client, 0.0) - self.now()
        if wait > 0:
            self.counters.quota_refused += 1
            return Reply(429, b"slow down\n", [(b"Retry-After", b"%d" % (wait + 1))])
        asked = ensureDeferred(self.ask(client))
        asked.addErrback(lambda failure: log.warn("quota: {e}", e=failure.value))
        return None

    async def ask(self, client):
        wait = await self.state.take(self.key + client, 1.0, self.rate)
        if wait:
            if len(self.refused_until) >= MOST:
                self.refused_until.clear()
            self.refused_until[client] = self.now() + wait
