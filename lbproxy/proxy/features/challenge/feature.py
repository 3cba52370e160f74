"""DATA. ``challenge`` of a frontend and of its routes.

1. A request with a pass continues. The pass is never sent to the server, not even while no requests
   are checked, because browsers keep a pass longer than an attack lasts.
2. A request continues if ``challenge_except``, its route or its crawler exempts it. So does a
   request that lbproxy itself answers (reply, redirect), because that costs less than the page. The
   request is checked again if a filter changes its target or host in phase ``early``.
3. Any other request is refused with 403. A GET of a client that displays pages gets the page, which
   requests the same URL again when it has a pass; any other request gets a short text.
4. The page sends its answer to a path reserved by lbproxy. The reply sets the cookie.

A frontend that never checks has no hook of this feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from attrs import asdict, define
from twisted.internet.defer import Deferred

from lbproxy.balance.cookielines import remove_cookie
from lbproxy.challenge.crawlers import claimed_crawler
from lbproxy.challenge.page import PAGE_POLICY, PATH, challenge_page, refusal_text, takes_html
from lbproxy.challenge.proof import AnswerError, Proofs
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.conditional import Conditions
from lbproxy.http.filter import Phases, compile_phases
from lbproxy.http.message import Reply
from lbproxy.proxy.adminpart import AdminPart, Column
from lbproxy.proxy.feature import Feature, Given, counted
from lbproxy.proxy.features.challenge.answer import AnswerSource, form_fields
from lbproxy.proxy.features.challenge.crawling import DEADLINE_S, CrawlerNames, Crawlers
from lbproxy.proxy.features.challenge.spec import ChallengeDeclaration
from lbproxy.proxy.features.challenge.switch import ChallengeSwitch
from lbproxy.proxy.features.limiting.key import prefix_of
from lbproxy.proxy.features.place import has_filters, place_of
from lbproxy.proxy.http.source import SourceReply

if TYPE_CHECKING:
    from lbproxy.proxy.frontend import Frontend

__all__ = ["Challenge", "ChallengeCounters"]

COOKIE: Final = b"lbproxy_pass"
SECURE_COOKIE: Final = b"__Host-lbproxy_pass"
"""The cookie for https. A browser does not let an http page replace it (RFC 6265bis §5.5), so http
and https need different names.
"""

PREFIX: Final = (32, 64)
"""Lengths of the IPv4 and IPv6 prefixes whose addresses share a pass: those of one subscriber."""

_NOTE: Final = "challenge"  # key in ``traffic.vars`` for a request that was exempt
_COOKIES: Final = 4  # maximum number of cookies of one name that are checked
_NO_STORE: Final = (b"Cache-Control", b"no-store")
_TEXT: Final = (b"Content-Type", b"text/plain; charset=utf-8")


@define(eq=False)
class ChallengeCounters:
    """Counters of the challenge of a frontend."""

    challenge_pages: int = counted("Challenge pages sent.")
    challenge_refused: int = counted("Requests without a pass that no page could be sent to.")
    challenge_solved: int = counted("Answers of challenge pages that earned a pass.")
    challenge_wrong: int = counted("Answers of challenge pages that were refused.")
    challenge_crawlers: int = counted("Requests of crawlers that DNS has confirmed.")


class Challenge(ChallengeDeclaration, Feature["Frontend"]):
    """See the module.

    Four independent flags: requests are checked now (``_checks``), hooks run (``_hooked``), filters
    may change the target after the first check (``_looks_again``), and the switch is watched
    (``_watching``).
    """

    name = "challenge"
    keys = ("challenge",)
    patience = DEADLINE_S + 1.0  # a look-up has its own deadline, independent of timeout_filter
    Counters = ChallengeCounters

    def __init__(self, spec: Any, given: Given) -> None:
        self.spec = spec
        self.secret = given.env.secret
        self._proofs = Proofs(self.secret)
        self._wheel = given.network.wheel
        self._except = [Conditions(one) for one in spec.challenge_except]
        routes = {index: route.challenge for index, route in enumerate(spec.routes)}
        self._routes = {index: mode for index, mode in routes.items() if mode is not None}
        self.switch = given.keep(
            "challenge", spec.name, lambda: ChallengeSwitch(spec.name, given.replicated)
        )
        self._answers = AnswerSource(self._judge)
        self._crawlers = given.keep(
            "crawlers", "", lambda: Crawlers(lambda: _dns(given.env.reactor), self._wheel)
        )
        self._owner: Frontend | None = None
        self._hooked = False
        self._looks_again = False  # filters may change the target after the first check
        self._checks = False
        self._watching = False

    @classmethod
    def prepare(cls, spec: Any, old: Self | None, given: Given) -> Self | None:
        """See :class:`Feature`. Every HTTP frontend has it, so that operators can switch it on."""
        if spec.mode == "tcp":
            return None
        alerts = given.config.alerts
        modes = (one.challenge for one in (spec, *spec.routes))
        if "alert" in modes and any(one.off and one.name == "attack" for one in alerts.rules):
            raise ValueError("'alert' waits for the alert attack, which [alerts] has off")
        if old is not None and old.spec == spec and old.secret == given.env.secret:
            return old
        return cls(spec, given)

    # -- life -----------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """True if some requests are checked now."""
        wants = self.switch.wants
        return wants(self.spec.challenge) or any(wants(mode) for mode in self._routes.values())

    @property
    def _meets_passes(self) -> bool:
        """True if browsers may have passes of this frontend, now or from an earlier check."""
        return self.switch.used or bool(self._modes() - {"off"})

    def around(self, phases: Phases) -> Phases:
        """See :class:`Feature`."""
        if not self._meets_passes:
            return phases
        self._looks_again = has_filters(phases)
        if self._looks_again:
            phases = phases.after(early=self.look_again)
        return phases.before(early=self.early, failed=self.failed)

    def attach(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self._owner = owner
        self._hooked = self.switch.used = self._meets_passes
        self._checks = self.active
        owner.alarm = self.switch.alarm if "alert" in self._modes() else None
        if not self._watching:
            self._watching = True
            self.switch.watch(self._switched)

    def refit(self, owner: Frontend) -> None:
        """See :class:`Feature`."""
        self.attach(owner)

    def close(self) -> None:
        """See :class:`Feature`."""
        if self._watching:
            self._watching = False
            self.switch.unwatch(self._switched)

    def _modes(self) -> set[str]:
        return {self.spec.challenge, *self._routes.values()}

    def _switched(self) -> None:
        """Add the hooks to the frontend, or remove them, if that has changed."""
        owner = self._owner
        self._checks = self.active
        if owner is not None and self._meets_passes != self._hooked:
            self._hooked = self._meets_passes
            owner.compile(compile_phases(owner.filters))

    # -- requests -------------------------------------------------------------------------------

    def early(self, traffic: Any) -> Any:
        """Let a request pass, route it to the source for answers, or refuse it."""
        if traffic.request.path == PATH.encode():
            return self._take_answer(traffic)
        passes = self._take_passes(traffic)
        if not self._checks or any(self._admits(traffic, one) for one in passes):
            return None
        if self._exempt(traffic):
            if self._looks_again and self._owner is not None:
                traffic.vars = traffic.vars or {}
                traffic.vars[_NOTE] = place_of(traffic, self._owner.router)
            return None
        return self._judge_crawler(traffic)

    def look_again(self, traffic: Any) -> Any:
        """Check an exempt request again if filters have changed its target or route."""
        owner = self._owner
        assert owner is not None
        noted = traffic.vars.get(_NOTE) if traffic.vars else None
        if noted in (None, place_of(traffic, owner.router)) or self._exempt(traffic):
            return None
        return self._judge_crawler(traffic)

    def _judge_crawler(self, traffic: Any) -> Any:
        """Let crawlers pass if DNS confirms them, and refuse all others."""
        crawler = None
        if self.spec.challenge_crawlers:
            crawler = claimed_crawler(traffic.request.header_values(b"user-agent"))
        if crawler is None:
            raise _challenged("no pass")
        verdict = self._crawlers.judge(crawler, traffic.client_ip)
        if isinstance(verdict, Deferred):
            return verdict.addCallback(self._crawled, crawler.name)
        return self._crawled(verdict, crawler.name)

    def _crawled(self, good: bool, name: str) -> None:
        if good:
            self.counters.challenge_crawlers += 1
        elif self._checks:
            raise _challenged(f"claims to be a crawler of {name}")

    def _take_passes(self, traffic: Any) -> list[bytes]:
        """Remove the passes from the request, and return those to check."""
        request = traffic.request
        found: list[bytes] = []
        for name in (SECURE_COOKIE, COOKIE):
            values = request.cookies(name)
            if values:
                remove_cookie(request, name)
                found += values[:_COOKIES]
        return found

    def _admits(self, traffic: Any, value: bytes) -> bool:
        spec = self.spec
        return self._proofs.admits(
            value.decode("latin-1"),
            self._prefix(traffic),
            spec.challenge_bits,
            spec.challenge_time,
            self._wheel.wall(),
        )

    def _exempt(self, traffic: Any) -> bool:
        owner = self._owner
        assert owner is not None
        route = owner.router.match(traffic)
        mode = self.spec.challenge
        if route is not None:
            mode = self._routes.get(route.index, mode)
            if route.action is not None or self._routes.get(route.index) == "off":
                return True
        return not self.switch.wants(mode) or any(one.hold(traffic) for one in self._except)

    def _prefix(self, traffic: Any) -> str:
        return prefix_of(traffic.client_ip, PREFIX)

    def failed(self, traffic: Any, error: ProxyError) -> Reply | None:
        """Return the page or the text for a request that this feature refused."""
        if error.kind is not Kind.CHALLENGED:
            return None
        request, reference = traffic.request, traffic.request_id
        identity = (b"X-Request-Id", reference.encode("latin-1", "replace"))
        if not takes_html(request.method, request.header(b"accept")):
            self.counters.challenge_refused += 1
            return Reply(403, refusal_text(reference), [_TEXT, _NO_STORE, identity])
        self.counters.challenge_pages += 1
        bits = self.spec.challenge_bits
        token = self._proofs.token(self._prefix(traffic), bits, self._wheel.wall())
        headers = [
            (b"Content-Type", b"text/html; charset=utf-8"),
            _NO_STORE,
            (b"Content-Security-Policy", PAGE_POLICY),
            (b"X-Robots-Tag", b"noindex"),
            identity,
        ]
        return Reply(403, challenge_page(token, bits, reference), headers)

    # -- answers --------------------------------------------------------------------------------

    def _take_answer(self, traffic: Any) -> Reply:
        if traffic.request.method != b"POST":
            return Reply(405, b"POST an answer here.\n", [_TEXT, _NO_STORE, (b"Allow", b"POST")])
        return SourceReply(self._answers)

    def _judge(self, traffic: Any, form: bytes) -> Reply:
        """Return the reply to an answer: the cookie, or the reason for a refusal."""
        fields, prefix = form_fields(form), self._prefix(traffic)
        token, answer = fields.get("token", ""), fields.get("answer", "")
        lifetime, now = self.spec.challenge_time, self._wheel.wall()
        try:
            earned = self._proofs.judge(token, answer, prefix, now, lifetime)
        except AnswerError as error:
            self.counters.challenge_wrong += 1
            return Reply(403, f"{error}\n".encode(), [_TEXT, _NO_STORE])
        self.counters.challenge_solved += 1
        left = int(earned.issued + lifetime - now)
        words = f"; Path=/; Max-Age={left}; HttpOnly; SameSite=Lax"
        name = COOKIE
        if traffic.scheme == "https":
            name, words = SECURE_COOKIE, words + "; Secure"
        value = self._proofs.make_pass(earned, prefix)
        cookie = name + b"=" + (value + words).encode("ascii")
        return Reply(204, b"", [_NO_STORE, (b"Set-Cookie", cookie)])

    # -- what is shown --------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """See :class:`Feature`."""
        return {
            "configured": self.spec.challenge,
            "setting": self.switch.setting,
            "attack": self.switch.attack,
            "active": self.active,
            **asdict(self.counters),
        }


def _challenged(detail: str) -> ProxyError:
    return ProxyError(Kind.CHALLENGED, detail)


def _dns(reactor: Any) -> CrawlerNames:
    """Return the DNS client. Twisted's is imported for the first crawler."""
    from lbproxy.proxy.features.challenge.dns import DNSNames

    return DNSNames(reactor)


_COUNTS: Final = dict.fromkeys(
    ("pages", "refused", "solved", "wrong", "crawlers"),
    "count",
)

Challenge.part = AdminPart(
    "challenge",
    state="challenge",
    title="Challenge",
    owner_key="frontend",
    fields={
        "configured": "string",
        "setting": "string",
        "attack": "boolean",
        "active": "boolean",
        **{f"challenge_{name}": kind for name, kind in _COUNTS.items()},
    },
    columns=(
        Column("frontend", "Frontend"),
        Column("configured", "Configured"),
        Column("setting", "Set", "switch"),
        Column("attack", "Attack"),
        Column("active", "Active"),
        Column("challenge_pages", "Pages", "count"),
        Column("challenge_solved", "Solved", "count"),
        Column("challenge_wrong", "Wrong", "count"),
        Column("challenge_refused", "Refused", "count"),
        Column("challenge_crawlers", "Crawlers", "count"),
    ),
)
