"""PURE. The declaration of a feature: its keys and its sections, for the configuration.

A feature with keys declares them in a module apart from its implementation, without Twisted, so
that reading a configuration does not import the feature. The implementation inherits the
declaration (:class:`lbproxy.proxy.feature.Feature`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from lbproxy.config.section import Section
    from lbproxy.model import Config, FrontendSpec

__all__ = ["Declaration", "FrontendDeclaration", "OwnerKind"]

OwnerKind = Literal["frontend", "backend", "route"]


class Declaration:
    """The declaration of a feature. ``owner``: the kind of object that has the feature.

    ``Keys``: an attrs class of :func:`lbproxy.config.model.option` fields, all with defaults, which
    become keys of its owner's section; None if :mod:`lbproxy.model` has them. ``workers=`` of an
    option says how workers split it (:mod:`lbproxy.config.share`). ``RouteKeys``: the same for
    options of routes, for a feature of a frontend; an option is None if the route does not set it.
    ``BackendKeys``: some of ``Keys`` as keys of backends, for a feature of a route: a key of the
    backend applies if the route does not set it, and has precedence over that of the frontend; the
    default means that it is not set. ``sections``: kinds of sections that belong to the feature.
    """

    owner: ClassVar[OwnerKind] = "backend"
    Keys: ClassVar[type[Any] | None] = None
    RouteKeys: ClassVar[type[Any] | None] = None
    BackendKeys: ClassVar[type[Any] | None] = None
    sections: ClassVar[tuple[Section, ...]] = ()

    @classmethod
    def signs_for_clients(cls, spec: FrontendSpec) -> bool:
        """Return whether clients of a frontend keep data that is signed with ``Env.secret``.

        lbproxy then keeps a random secret over restarts, or warns that it cannot.
        """
        return False

    @classmethod
    def loses_at_restart(cls, config: Config) -> str:
        """Return the name of the state that a restart loses unless ``[lbproxy] state`` is set; ""
        if none.
        """
        return ""

    @classmethod
    def warnings(cls, config: Config) -> list[str]:
        """Return warnings about valid settings that are probably mistakes on this machine."""
        return []


class FrontendDeclaration(Declaration):
    """Declares a feature of frontends without keys."""

    owner = "frontend"
