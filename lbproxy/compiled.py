"""The modules that may run compiled, and whether they do in this process.

The modules named here form the data path. ``setup.py`` compiles them with mypyc, from the same
source that runs without a compiler, and stores :data:`STAMP` beside them: a digest of each source.
Compiled modules are used only while every digest matches, so a binary never replaces a source that
has changed. The environment variable ``LBPROXY_COMPILED`` decides: ``0`` runs the sources, ``1``
refuses to start without the compiled modules. Without it they are used if they exist and match.

This module imports nothing of lbproxy, because it runs before all other modules. Every command
imports it, so it imports late what only some of them need.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ast

    from mypy_extensions import mypyc_attr as native
else:

    def native(**words: Any) -> Any:
        """Declare properties of a class for the compiler, such as
        ``@native(allow_interpreted_subclasses=True)``. It has no other effect.
        """
        return lambda cls: cls


__all__ = [
    "MODULES",
    "STAMP",
    "VARIABLE",
    "digests",
    "docstring",
    "native",
    "running",
    "settle",
    "trouble",
]

VARIABLE = "LBPROXY_COMPILED"
STAMP = "compiled.json"

MODULES = (
    "balance/base.py",
    "balance/cookielines.py",
    "balance/group.py",
    "balance/hash_.py",
    "balance/lease.py",
    "balance/leastconn.py",
    "balance/membership.py",
    "balance/sampler.py",
    "balance/server.py",
    "balance/sticky.py",
    "balance/stickycookie.py",
    "cache/age.py",
    "cache/cachestatus.py",
    "cache/catalog.py",
    "cache/choosing.py",
    "cache/freshness.py",
    "cache/key.py",
    "cache/keybytes.py",
    "cache/memory.py",
    "cache/ownrequest.py",
    "cache/popular.py",
    "cache/ready.py",
    "cache/readyrecord.py",
    "cache/sieve.py",
    "cache/storing.py",
    "cache/vary.py",
    "limits/bucket.py",
    "limits/cells.py",
    "limits/window.py",
    "lists/prefixes.py",
    "logs/sink.py",
    "guard/addresses.py",
    "guard/connections.py",
    "guard/idle.py",
    "http/basehead.py",
    "http/bytetext.py",
    "http/checks.py",
    "http/chunkline.py",
    "http/cookietable.py",
    "http/derivedhead.py",
    "http/forward.py",
    "http/grammar.py",
    "http/h1_body.py",
    "http/h1_fields.py",
    "http/h1_parser.py",
    "http/h1_refused.py",
    "http/h1_request.py",
    "http/h1_response.py",
    "http/h1_write.py",
    "http/head.py",
    "http/headerfilter.py",
    "http/headerlist.py",
    "http/hoplines.py",
    "http/identity.py",
    "http/known.py",
    "http/message.py",
    "http/paths.py",
    "http/rewrite.py",
    "http/rewriter.py",
    "http/route.py",
    "http/scan.py",
    "http/syntax.py",
    "http/template.py",
    "http/trustedhops.py",
    "http/upgrade.py",
    "net/acceptor.py",
    "net/builder.py",
    "net/closing.py",
    "net/dialler.py",
    "net/dialling.py",
    "net/endstate.py",
    "net/fastdial.py",
    "net/forks.py",
    "net/halfclose.py",
    "net/handler.py",
    "net/handshakes.py",
    "net/handshaking.py",
    "net/loop.py",
    "net/outbuffer.py",
    "net/poller.py",
    "net/relay.py",
    "net/sender.py",
    "net/sslhandshake.py",
    "net/sslrecords.py",
    "net/sslsocket.py",
    "net/stream.py",
    "net/timers.py",
    "net/transport.py",
    "net/watchedsocket.py",
    "net/wrapped.py",
    "observe/jsonconnection.py",
    "observe/jsoncourse.py",
    "observe/jsonlog.py",
    "observe/jsonvalues.py",
    "observe/metrics.py",
    "observe/record.py",
    "observe/textlog.py",
    "proxy/accounting.py",
    "proxy/admission.py",
    "proxy/http/answering.py",
    "proxy/http/sourcing.py",
    "proxy/http/attempt.py",
    "proxy/http/attemptowner.py",
    "proxy/http/attemptstream.py",
    "proxy/http/attempts.py",
    "proxy/backend.py",
    "proxy/dial.py",
    "proxy/features/caching/asking.py",
    "proxy/features/caching/bypass.py",
    "proxy/features/caching/counters.py",
    "proxy/features/caching/disk/entries.py",
    "proxy/features/caching/disk/filehits.py",
    "proxy/features/caching/disk/folder.py",
    "proxy/features/caching/disk/journal.py",
    "proxy/features/caching/disk/loader.py",
    "proxy/features/caching/disk/openfile.py",
    "proxy/features/caching/disk/openfiles.py",
    "proxy/features/caching/disk/slot.py",
    "proxy/features/caching/fanout.py",
    "proxy/features/caching/fetch.py",
    "proxy/features/caching/fetchbody.py",
    "proxy/features/caching/fetching.py",
    "proxy/features/caching/hits.py",
    "proxy/features/caching/judging.py",
    "proxy/features/caching/partfetch.py",
    "proxy/features/caching/reader.py",
    "proxy/features/caching/runningfetches.py",
    "proxy/features/caching/sending.py",
    "proxy/features/caching/sharing.py",
    "proxy/features/caching/source.py",
    "proxy/features/caching/store.py",
    "proxy/features/limiting/desk.py",
    "proxy/features/limiting/key.py",
    "proxy/features/limiting/quick.py",
    "proxy/features/limiting/tally.py",
    "proxy/http/connector.py",
    "proxy/http/idletimes.py",
    "proxy/http/client.py",
    "proxy/http/clientend.py",
    "proxy/http/clientflow.py",
    "proxy/http/clientlink.py",
    "proxy/http/clientsend.py",
    "proxy/http/clientstate.py",
    "proxy/http/deferredstream.py",
    "proxy/http/delivery.py",
    "proxy/http/exchange.py",
    "proxy/frontend.py",
    "proxy/info.py",
    "proxy/members.py",
    "proxy/http/pipelineline.py",
    "proxy/http/h1connector.py",
    "proxy/hooks.py",
    "proxy/http/pool.py",
    "proxy/http/reception.py",
    "proxy/policy.py",
    "proxy/reception.py",
    "proxy/terms.py",
    "proxy/unsent.py",
    "proxy/queue.py",
    "proxy/routelimits.py",
    "proxy/http/sending.py",
    "proxy/http/server.py",
    "proxy/http/serverlink.py",
    "proxy/http/serverstate.py",
    "proxy/http/sink.py",
    "proxy/http/source.py",
    "proxy/leasing.py",
    "proxy/tcp/attempt.py",
    "proxy/tcp/ends.py",
    "proxy/tcp/idle.py",
    "proxy/tcp/routing.py",
    "proxy/tcp/reception.py",
    "proxy/tcp/session.py",
    "proxy/tcp/traffic.py",
    "proxy/http/traffic.py",
    "proxy/http/tunnel.py",
    "proxy/tries.py",
)
"""Paths below the package's folder. They are compiled together, so that they call each other
directly.
"""


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each of :data:`MODULES`. OSError if one is missing."""
    import hashlib

    return {
        name: hashlib.blake2b((folder / name).read_bytes(), digest_size=16).hexdigest()
        for name in MODULES
    }


def trouble(folder: Path) -> str:
    """Return why the compiled modules in ``folder`` cannot be used, or ""."""
    import json

    try:
        stamp = json.loads((folder / STAMP).read_text())
        if stamp["suffix"] not in EXTENSION_SUFFIXES:
            return "the compiled modules are for another Python"
        fits = stamp["sources"] == digests(folder)
    except FileNotFoundError:
        return "there are no compiled modules"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"the compiled modules cannot be judged: {error}"
    return "" if fits else "the compiled modules are older than their sources"


class _Sources:
    """Finds lbproxy's modules as sources, regardless of compiled files beside them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if not name.startswith("lbproxy."):
            return None
        for entry in path or ():
            spec = FileFinder(entry, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name)
            if spec is not None and spec.loader is not None:
                return spec
        return None


def docstring(cls: type[Any]) -> str:
    """Return the docstring of a class, which mypyc drops, from its source; "" if it has none."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None) or ""
    if file.endswith(tuple(EXTENSION_SUFFIXES)):
        source = Path(file).parent / f"{cls.__module__.rpartition('.')[2]}.py"
        if source.exists():
            return _written(source.read_text(encoding="utf-8"), cls.__qualname__)
    return cls.__doc__ or ""


def _written(source: str, name: str) -> str:
    import ast

    body: list[ast.stmt] = ast.parse(source).body
    found: ast.ClassDef | None = None
    for part in name.split("."):
        classes = (node for node in body if isinstance(node, ast.ClassDef))
        found = next((node for node in classes if node.name == part), None)
        if found is None:
            return ""
        body = found.body
    return (found and ast.get_docstring(found)) or ""


_why_not = "nobody has asked"


def settle(folder: Path) -> None:
    """Decide for this process. The package itself calls it once.

    Raises ImportError if compiled modules are required but not available.
    """
    global _why_not  # noqa: PLW0603
    wish = os.environ.get(VARIABLE, "")
    _why_not = f"{VARIABLE} is 0" if wish == "0" else trouble(folder)
    if _why_not:
        if wish == "1":
            raise ImportError(f"{VARIABLE} is 1, but {_why_not}")
        if any((folder / "net").glob("timers.*" + EXTENSION_SUFFIXES[-1])):
            sys.meta_path.insert(0, _Sources())


def running() -> str:
    """Return a text for people: ``compiled``, or ``pure Python`` with the reason."""
    return f"pure Python: {_why_not}" if _why_not else "compiled"
