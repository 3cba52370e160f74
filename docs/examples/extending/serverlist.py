"""A discovery: the servers of a backend are the lines of a file, which is read again regularly."""

from pathlib import Path

from attrs import frozen
from twisted.application.internet import TimerService
from twisted.logger import Logger

from lbproxy.config.build import parse_server
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.model import option
from lbproxy.proxy.feature import Feature

ORIGIN = "discovery:file"
EVERY = 5.0  # seconds

log = Logger()


@frozen
class Keys:
    server_list: str = option("string", "", doc="file with one server line for each server")


class ServerList(Feature):
    name = "server_list"
    keys = ("server_list",)
    Keys = Keys

    def __init__(self, path, given):
        self.path = Path(path)
        self.timer = TimerService(EVERY, self.look)
        self.timer.clock = given.env.reactor

    @classmethod
    def prepare(cls, spec, old, given):
        if not spec.server_list:
            return None
        same = old is not None and old.path == Path(spec.server_list)
        return old if same else cls(spec.server_list, given)

    def attach(self, owner):
        self.backend = owner

    def services(self):
        return (self.timer,)

    def detach(self):
        self.change({})

    def look(self):
        """Make the servers those in the file; after an error they stay as they are."""
        try:
            lines = [line for line in self.path.read_text().splitlines() if line.strip()]
            self.change({spec.name: spec for spec in map(parse_server, lines)})
        except (OSError, ConfigErrors, ValueError) as error:
            log.warn("backend {name}: {error}", name=self.backend.name, error=error)

    def change(self, wanted):
        group = self.backend.group
        found = {one.name: one for one in group.servers.values() if one.origin == ORIGIN}
        gone = [name for name, one in found.items() if wanted.get(name) != one.spec]
        new = [spec for name, spec in wanted.items() if name not in found or name in gone]
        with group.changes():
            for name in gone:
                self.backend.remove(name)
            for spec in new:
                self.backend.add(spec, ORIGIN)
        if gone or new:
            self.backend.sync()
