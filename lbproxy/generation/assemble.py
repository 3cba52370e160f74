"""CONTROL. Creates a :class:`~lbproxy.generation.plan.Plan` of all live objects from a
configuration.

:mod:`lbproxy.service` calls it at start, and so do :mod:`lbproxy.generation.reload` and ``lbproxy
check``. It reads keys and certificates, opens and binds nothing, and does not change objects in
use. All errors that show only here (a certificate, a filter that cannot be created) are reported
together.
"""

from __future__ import annotations

from twisted.logger import Logger

from lbproxy.config.model import Config
from lbproxy.generation.assembly import Assembly
from lbproxy.generation.backends import BackendAssembly
from lbproxy.generation.exposure import exposed_files
from lbproxy.generation.featurewarnings import feature_warnings
from lbproxy.generation.frontends import FrontendAssembly
from lbproxy.generation.generation import Generation, Ground
from lbproxy.generation.guarding import guard_warnings
from lbproxy.generation.plan import Plan
from lbproxy.generation.secret import secret_warnings

__all__ = ["compile_config"]

_log = Logger()


def compile_config(config: Config, ground: Ground, old: Generation | None = None) -> Plan:
    """Return the objects that ``config`` needs, not started, with those of ``old`` that continue.

    Raises ConfigErrors with all errors.
    """
    run = Assembly(config, ground, old or Generation(Config()))
    backends = BackendAssembly(run)
    for backend in config.backends:
        backends.add(backend)
    backends.finish()
    frontends = FrontendAssembly(run)
    for frontend in config.frontends:
        frontends.add(frontend)
    frontends.finish()
    plan = run.finish()
    for text in (
        *exposed_files(config),
        *guard_warnings(config),
        *secret_warnings(config),
        *feature_warnings(config),
    ):
        _log.warn("{text}", text=text)
    return plan
