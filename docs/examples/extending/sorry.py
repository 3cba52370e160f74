"""Filters: a page of your own for failures, and a body that changes on its way."""

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.http.filter import Filter
from lbproxy.http.message import Reply
from lbproxy.http.transform import Transform


@frozen
class Options:
    text: str = option("string", "Back soon.", doc="the page", positional=True)


class Sorry(Filter):
    name = "sorry"
    Options = Options

    def failed(self, traffic, error):
        return Reply(503, self.options.text.encode(), [(b"Retry-After", b"5")])


class Upper(Transform):
    keeps_length = True

    def data(self, data):
        return data.upper()


class Shout(Filter):
    name = "shout"

    def response(self, traffic):
        traffic.transform_response(Upper())
