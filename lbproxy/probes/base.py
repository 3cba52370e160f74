"""CONTROL. The base class of probes.

:class:`lbproxy.checks.checker.Checker` creates one probe per backend and calls :meth:`Probe.check`
for each server on schedule. Probes dial through :class:`lbproxy.net.endpoints.Dialler` like
traffic, so they also run on in-memory networks.

Reading a configuration imports the modules of its probes, for their options. The first check
imports their connection (:mod:`lbproxy.probes.conversation`), which uses Twisted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field
from zope.interface import implementer

from lbproxy.errors import ProxyError
from lbproxy.health.state import Result
from lbproxy.interfaces import Env, IProbe, NoOptions
from lbproxy.probes.target import Draining, ProbeTarget, Unhealthy, WrongRole, shown

if TYPE_CHECKING:
    from attrs import AttrsInstance

    from lbproxy.probes.conversation import Conversation

__all__ = [
    "Conversation",
    "Draining",
    "NoOptions",
    "Probe",
    "ProbeTarget",
    "Unhealthy",
    "WrongRole",
    "hidden",
    "shown",
    "unescape",
]


def __getattr__(name: str) -> Any:
    """Import :class:`Conversation` for probes that name it here."""
    if name == "Conversation":
        from lbproxy.probes.conversation import Conversation

        return Conversation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@implementer(IProbe)
class Probe:
    """Base class of probes: implement :meth:`talk`, and configure ``check = file.py:YourClass``.

    - ``clear``: begin without TLS even if TLS is configured, for protocols that start TLS
      themselves with ``target.tls``.
    - ``secure``: the check requires TLS, so ``target.tls`` is never None.
    - ``alpn``: protocols to offer if the check uses TLS and traffic does not.
    - ``concurrent``: maximum number of concurrent checks of one backend, 0 for no limit. The
      deadline of a waiting check has not started.

    A probe that does not use exactly one connection overrides :meth:`check` instead.
    """

    name: ClassVar[str] = ""
    Options: ClassVar[type[AttrsInstance]] = NoOptions
    alpn: ClassVar[tuple[str, ...]] = ()

    clear = False
    secure = False
    concurrent = 0

    def __init__(self, options: Any, env: Env) -> None:
        self.options = options
        self.env = env

    async def check(self, target: ProbeTarget) -> Result:
        """See :class:`lbproxy.interfaces.IProbe`."""
        from lbproxy.probes.conversation import Conversation

        now = target.network.wheel.now
        begun = now()
        tls = None if self.clear else target.tls
        try:
            conversation = await Conversation.open(target, tls=tls)
            clean = False
            try:
                note = await self.talk(conversation, target)
                clean = True
            except (Unhealthy, Draining):
                clean = True  # the final bytes may answer a refusal
                raise
            finally:
                conversation.close(clean=clean)
        except Unhealthy as error:
            return Result(False, str(error), now() - begun, certain=error.certain)
        except Draining as drain:
            return Result(True, str(drain), now() - begun, drain=True)
        except ProxyError as error:
            return Result(False, str(error), now() - begun)
        return Result(True, note, now() - begun)

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """Check the server over ``conversation`` and return a note for humans ("" is allowed).

        Raises :class:`Unhealthy` if the server is not healthy, and :class:`Draining` if it is
        healthy but wants no new work.
        """
        raise NotImplementedError(f"{type(self).__name__}.talk")


def hidden() -> Any:
    """Return an Options field that ``__attrs_post_init__`` sets."""
    return field(init=False, eq=False, repr=False, metadata={"kind": "hidden"})


_ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def unescape(text: str) -> bytes:
    r"""Return ``text`` as UTF-8, with the escapes ``\r \n \t \0 \\`` and ``\xHH`` replaced.

    Raises ValueError for other escapes.
    """
    out = bytearray()
    at = 0
    while (back := text.find("\\", at)) >= 0:
        out += text[at:back].encode()
        key = text[back + 1 : back + 2]
        if key in _ESCAPES and key:
            out += _ESCAPES[key]
            at = back + 2
        elif key == "x":
            digits = text[back + 2 : back + 4]
            if not re.fullmatch("[0-9A-Fa-f]{2}", digits):
                raise ValueError(f"'\\x{digits}' is not \\x and two hex digits")
            out.append(int(digits, 16))
            at = back + 4
        else:
            raise ValueError(f"'\\{key}' is no escape; write \\r \\n \\t \\0 \\\\ or \\xHH")
    out += text[at:].encode()
    return bytes(out)
