"""A feature that is a source: responses of a backend, kept in memory for some seconds."""

from attrs import define, frozen

from lbproxy.config.model import option
from lbproxy.http.message import End, ResponseHead
from lbproxy.proxy.feature import Feature, counted
from lbproxy.proxy.http.bodystream import respond
from lbproxy.proxy.http.sink import ForwardingSink
from lbproxy.proxy.http.source import Source


@frozen
class Keys:
    remember: float = option("duration", 0.0, min=0, doc="how long GET responses are kept; 0: not")


@define(eq=False)
class Counters:
    remembered: int = counted("Responses from memory.")


class Remember(Feature):
    name = "remember"
    keys = ("remember",)
    Keys = Keys
    Counters = Counters

    def __init__(self, seconds, now):
        self.seconds, self.now = seconds, now
        self.kept = {}  # (host, target) -> (until, status, headers, body pieces)

    @classmethod
    def prepare(cls, spec, old, given):
        if not spec.remember:
            return None
        same = old is not None and old.seconds == spec.remember
        return old if same else cls(spec.remember, given.env.now)

    def source(self, inner):
        return Memory(self, inner)


class Memory(Source):
    """Answers from memory, or asks ``inner`` and keeps what it sends."""

    def __init__(self, feature, inner):
        self.feature, self.inner = feature, inner

    def begin(self, head, data, end, sink):
        feature, key = self.feature, (head.host, head.target)
        if head.method != b"GET":
            return self.inner.begin(head, data, end, sink)
        found = feature.kept.get(key)
        if found is None or found[0] <= feature.now():
            return self.inner.begin(head, data, end, Filling(sink, feature, key))
        feature.counters.remembered += 1
        _, status, headers, pieces = found
        length = sum(map(len, pieces))
        return respond(sink, ResponseHead(status, list(headers), length=length), pieces)


class Filling(ForwardingSink):
    """The sink of a miss: passes the response on as it comes, and keeps a complete 200."""

    def __init__(self, sink, feature, key):
        super().__init__(sink)
        self.feature, self.key = feature, key
        self.head, self.pieces = None, []

    def server_events(self, events):
        for event in events:
            if isinstance(event, ResponseHead):
                self.head = event
            elif isinstance(event, bytes):
                self.pieces.append(event)
            elif isinstance(event, End) and self.head.status == 200:
                until = self.feature.now() + self.feature.seconds
                kept = (until, 200, list(self.head.headers), self.pieces)
                self.feature.kept[self.key] = kept
        super().server_events(events)
