"""DATA. The keys of the feature ``challenge``, and the option of routes."""

from __future__ import annotations

from attrs import frozen

from lbproxy.config.declaration import Declaration
from lbproxy.config.model import Condition, FrontendSpec, option

__all__ = ["ChallengeDeclaration", "ChallengeKeys"]

_MODES = ("off", "on", "alert")


@frozen
class ChallengeKeys:
    """The keys of frontends."""

    challenge: str = option(
        "choice",
        "off",
        choices=_MODES,
        http_only=True,
        doc="check browsers by a calculation before their requests pass: never, always, or while"
        " the alert ``attack`` fires for this frontend",
    )
    challenge_except: tuple[tuple[Condition, ...], ...] = option(
        "lines:conditions",
        (),
        http_only=True,
        doc="requests that pass without the check",
        example="path /api/*",
    )
    challenge_bits: int = option(
        "int",
        18,
        min=4,
        max=28,
        http_only=True,
        doc="work of a browser: two to the power of this is the mean number of SHA-256; 18 takes"
        " a phone about a second",
    )
    challenge_time: float = option(
        "duration",
        3600.0,
        min=60,
        max=7 * 86400.0,
        http_only=True,
        doc="how long a browser that has passed the check is not checked again",
    )
    challenge_crawlers: bool = option(
        "bool",
        True,
        http_only=True,
        doc="let crawlers of search engines pass whose addresses DNS confirms",
    )


@frozen
class ChallengeRouteKeys:
    """The option of routes."""

    challenge: str = option(
        "choice", "off", choices=_MODES, doc="in place of ``challenge`` of the frontend"
    )


class ChallengeDeclaration(Declaration):
    """See :class:`Declaration`."""

    owner = "frontend"
    Keys = ChallengeKeys
    RouteKeys = ChallengeRouteKeys

    @classmethod
    def signs_for_clients(cls, spec: FrontendSpec) -> bool:
        """Return whether a frontend issues passes."""
        modes = {getattr(one, "challenge", None) for one in (spec, *spec.routes)}
        return bool(modes & {"on", "alert"})
