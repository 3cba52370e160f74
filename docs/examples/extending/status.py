"""A probe: the server answers STATUS with a line that begins with the right word."""

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.probes.base import Probe, Unhealthy


@frozen
class Options:
    word: str = option("string", "READY", doc="how the answer begins", positional=True)


class Status(Probe):
    name = "status"
    Options = Options

    async def talk(self, conversation, target):
        conversation.send(b"STATUS\r\n")
        line = (await conversation.receive_line()).decode("latin-1")
        if not line.startswith(self.options.word):
            raise Unhealthy(f"answered {line[:40]!r}")
        return line[:40]
