"""PURE. Use of stored responses (RFC 9111 §4): fresh, stale, after validation, or not at all."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from lbproxy.cache.asked import Asked
from lbproxy.cache.control import MOST
from lbproxy.cache.freshness import current_age
from lbproxy.cache.policy import NoCache, Policy
from lbproxy.cache.stored import Stored

__all__ = ["Decision", "Use", "decide", "usable_on_error"]


class Use(Enum):
    """Uses of a stored response."""

    SERVE = "serve"
    SERVE_AND_REFRESH = "serve and refresh"
    VALIDATE = "validate"
    REPLACE = "replace"
    REFUSE = "refuse"


@frozen
class Decision:
    """The ``use`` of a stored response, and its reason.

    ``age`` and ``ttl`` in seconds; ``ttl`` is negative if it is stale. ``rule``: the section of the
    specification.
    """

    use: Use
    reason: str
    rule: str
    age: float
    ttl: float


def decide(stored: Stored, asked: Asked, policy: Policy, now: float) -> Decision:
    """Return the use of ``stored``, which the request selects, at ``now``."""
    age = current_age(stored, now)
    ttl = stored.lifetime - age

    def say(use: Use, reason: str, rule: str) -> Decision:
        return Decision(use, reason, rule, age, ttl)

    if asked.cookies and not asked.named and not stored.public:
        return say(Use.REFUSE, "request has cookies that the policy does not name", "cookies")
    if stored.control.no_cache:
        return say(Use.VALIDATE, "response says no-cache", "RFC 9111 §5.2.2.4")
    demanded = _demanded(asked, policy, age)
    if demanded is not None:
        return say(*demanded)
    slack = asked.control.min_fresh if policy.client_no_cache is not NoCache.IGNORE else None
    if stored.purged:
        if _refreshable(stored, policy, -ttl) and not slack:
            return say(Use.SERVE_AND_REFRESH, "soft purge", "purge")
        return say(Use.VALIDATE, "soft purge", "purge")
    if ttl > (slack or 0):
        return say(Use.SERVE, "fresh", "RFC 9111 §4.2")
    if slack:
        return say(Use.VALIDATE, "request says min-fresh", "RFC 9111 §5.2.1.3")
    return say(*_stale(stored, asked, policy, -ttl))


def _demanded(asked: Asked, policy: Policy, age: float) -> tuple[Use, str, str] | None:
    """Return the use that the request's own directives require, or None."""
    control = asked.control
    limit = control.max_age
    if policy.client_no_cache is NoCache.IGNORE:
        return None
    if control.no_cache or limit == 0:
        use = Use.REPLACE if policy.client_no_cache is NoCache.OBEY else Use.VALIDATE
        return use, "request says no-cache", "RFC 9111 §5.2.1.4"
    if limit is not None and age > limit and (control.max_stale or 0) < age - limit:
        return Use.VALIDATE, "request says max-age", "RFC 9111 §5.2.1.1"
    return None


def _stale(stored: Stored, asked: Asked, policy: Policy, over: float) -> tuple[Use, str, str]:
    """Return the use of a response that is stale by ``over`` seconds."""
    control = stored.control
    if control.forbids_stale:
        return Use.VALIDATE, "stale, and must be revalidated", "RFC 9111 §5.2.2.2"
    if over < (control.stale_while_revalidate or 0):
        return Use.SERVE_AND_REFRESH, "stale-while-revalidate", "RFC 5861 §3"
    if control.s_maxage is None and over < policy.grace_refresh:
        return Use.SERVE_AND_REFRESH, "grace_refresh", "policy"
    wanted = asked.control.max_stale
    ignored = policy.client_no_cache is NoCache.IGNORE or control.s_maxage is not None
    if wanted is not None and not ignored and (wanted == MOST or over <= wanted):
        return Use.SERVE, "request says max-stale", "RFC 9111 §5.2.1.2"
    return Use.VALIDATE, "stale", "RFC 9111 §4.2.4"


def _refreshable(stored: Stored, policy: Policy, over: float) -> bool:
    """Return whether a softly purged response may be served while it is fetched again.

    ``over``: seconds since the end of its lifetime, negative before.
    """
    control = stored.control
    if control.forbids_stale:
        return False
    if control.stale_while_revalidate and over < control.stale_while_revalidate:
        return True
    return control.s_maxage is None and over < policy.grace_refresh


def usable_on_error(stored: Stored, asked: Asked, policy: Policy, now: float) -> str | None:
    """Return the rule by which ``stored`` may be used if the server fails, or None.

    A failure is a 500, 502, 503 or 504, a timeout, or an unreachable server (RFC 5861 §4).
    """
    control = stored.control
    if control.forbids_stale or (asked.cookies and not asked.named and not stored.public):
        return None
    over = max(0.0, current_age(stored, now) - stored.lifetime)
    if not over and not stored.purged:
        return "fresh"
    if over < (control.stale_if_error or 0):
        return "stale-if-error"
    if control.s_maxage is None and over < policy.grace:
        return "grace"
    return None
