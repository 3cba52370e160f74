"""A feature with a section of its own: ``[banner NAME]``, and ``banner = NAME`` in a frontend."""

from attrs import frozen

from lbproxy.config.model import NOWHERE, Where, hidden, option
from lbproxy.config.section import Section
from lbproxy.proxy.feature import Feature


@frozen
class BannerSpec:
    name: str = option("hidden", "", doc="section name")
    text: str = option("string", "", doc="sent in the header")
    header: str = option("string", "X-Banner", doc="the name of the header")
    where: Where = hidden(NOWHERE)


def check(draft, judge):
    if not draft.get("text"):
        judge.wrong(draft, draft.line("text"), "text", "a banner needs a text")


@frozen
class Keys:
    banner: str = option("string", "", doc="the [banner NAME] that responses carry")


class Banner(Feature):
    name = "banner"
    owner = "frontend"
    keys = ("banner",)
    Keys = Keys
    sections = (
        Section("banner", BannerSpec, doc="A header of responses.", plural="banners", check=check),
    )

    def __init__(self, spec):
        self.spec = spec

    @classmethod
    def prepare(cls, spec, old, given):
        if not spec.banner:
            return None
        found = {one.name: one for one in given.config.of(BannerSpec)}
        if spec.banner not in found:
            raise ValueError(f"there is no [banner {spec.banner}]")
        wanted = found[spec.banner]
        return old if old is not None and old.spec == wanted else cls(wanted)

    def around(self, phases):
        return phases.after(response=self.response)

    def response(self, exchange):
        exchange.response.set_header(self.spec.header.encode(), self.spec.text.encode())
