"""A feature that is a source: responses of a backend, kept in memory for some seconds."""

from attrs import define, frozen

from lbproxy.config.model import option
from lbproxy.http.message import END, ResponseHead
from lbproxy.proxy.feature import Feature, counted
from lbproxy.proxy.http.attempts import Attempts


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
        self.kept = {}  # (host, target) -> (until, status, headers, body)

    @classmethod
    def prepare(cls, spec, old, given):
        if not spec.remember:
            return None
        same = old is not None and old.seconds == spec.remember
        return old if same else cls(spec.remember, given.env.now)

    def source(self, inner):
        self.inner = inner or Attempts
        return self.ask

    def ask(self, traffic, backend, sink):
        head = traffic.request
        found = self.kept.get((head.host, head.target)) if head.method == b"GET" else None
        if found is not None and found[0] > self.now():
            self.counters.remembered += 1
            return Answer(sink, *found[1:])
        return self.inner(traffic, backend, sink)

    def around(self, phases):
        return phases.after(response=self.response)

    def response(self, traffic):
        request, response = traffic.request, traffic.response
        if request.method == b"GET" and response.status == 200:
            traffic.transform_response(Copy(self, (request.host, request.target), response))


class Copy:
    """A transform that keeps what passes."""

    keeps_length = True

    def __init__(self, memory, key, head):
        self.memory, self.key, self.head, self.parts = memory, key, head, []

    def start(self, head):
        pass

    def data(self, data):
        self.parts.append(data)
        return data

    def end(self):
        until = self.memory.now() + self.memory.seconds
        kept = (until, self.head.status, list(self.head.headers), b"".join(self.parts))
        self.memory.kept[self.key] = kept
        return b""


class Answer:
    """The stream of a source: one response that is there already."""

    queued = False

    def __init__(self, sink, status, headers, body):
        self.sink, self.status, self.headers, self.body = sink, status, headers, body

    def send_request(self, head, data, end):
        response = ResponseHead(self.status, list(self.headers), length=len(self.body))
        events = [response, self.body, END] if self.body else [response, END]
        self.sink.server_events(events)

    def send_body(self, data, end):
        """The request has no body that matters."""

    def pause_response(self):
        """Everything has been handed over."""

    resume_response = pause_response

    def close(self, *, reuse):
        self.body = b""
