"""A store: shared state of several load balancers in one program. A database takes its place."""

from lbproxy.sharing.local import Topics
from lbproxy.sharing.store import Store


class SharedStore:
    """What all nodes have in common: a database, with expiry and messages."""

    def __init__(self, now):
        self.data = Store(now)  # limits, leases and values
        self.nodes = []


class Node:
    """The lbproxy.sharing.contracts.Replicated of one load balancer."""

    ready = True  # False while publish would have to buffer

    def __init__(self, name, store):
        self.name = name
        self.store = store
        self.topics = Topics()
        store.nodes.append(self)

    @property
    def alone(self):
        return len(self.store.nodes) == 1

    # a real store sends a command, and raises SharedStateError after a few seconds without answer

    async def take(self, key, cost, rate):
        return self.store.data.take(key, cost, rate)

    async def lease(self, name, seconds):
        return self.store.data.lease(name, self.name, seconds)

    async def release(self, name):
        self.store.data.release(name, self.name)

    async def get(self, key):
        return self.store.data.get(key)

    async def put(self, key, value, seconds=0.0):
        self.store.data.put(key, value, seconds)

    # all nodes receive the messages of a topic in one order, the sender included

    def publish(self, topic, message):
        for node in self.store.nodes:
            node.topics.deliver(topic, message)

    def subscribe(self, topic, receive, whole=None, *, kept=False):
        return self.topics.subscribe(topic, receive, whole)
