"""DATA. Directives and files that the processes of a firewall load."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Final

from attrs import asdict, frozen

from lbproxy.proxy.features.waf.modsecurity.directives import (
    default_directives,
    engine_directives,
    setting_directives,
)
from lbproxy.proxy.features.waf.modsecurity.files import Stamp, rule_files
from lbproxy.proxy.features.waf.modsecurity.judge import RulePart
from lbproxy.proxy.features.waf.modsecurity.start import command, environment

__all__ = ["Loadout", "RuleSource", "check_rules"]

_CHECK_S: Final = 30.0


@frozen
class Loadout:
    """The directives and files of each process. ``stamp``: detects changes of the files."""

    parts: tuple[RulePart, ...]
    body_limit: int
    stamp: Stamp


class RuleSource:
    """The rules that a :class:`~lbproxy.proxy.features.waf.spec.WafSpec` names."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    @property
    def key(self) -> str:
        """Text that is equal for sections whose processes load the same rules."""
        one = self.spec
        files, levels = (one.rules, one.setup, one.engine), (one.paranoia, one.threshold)
        bounds = (one.body_limit, one.processes, one.queue, one.deadline)
        return repr((files, levels, one.exclude, one.responses, bounds))

    def stamp(self) -> Stamp:
        """Return a stamp that changes with the files. Raises ValueError if there are none."""
        return rule_files(self.spec.rules, self.spec.setup).stamp(self.spec.engine)

    def loadout(self) -> Loadout:
        """Return the current directives and files.

        Raises ValueError or OSError for missing files, and for exclusions that name no rule.
        """
        spec = self.spec
        files = rule_files(spec.rules, spec.setup)
        stamp = files.stamp(spec.engine)
        first = RulePart(engine_directives(spec.body_limit, responses=spec.responses))
        if spec.engine:
            first = RulePart(file=spec.engine)
        settings = setting_directives(spec.paranoia, spec.threshold, spec.exclude, files.ids())
        before = RulePart(default_directives())
        parts = [first, before, RulePart(file=str(files.setup)), RulePart(settings)]
        parts += [RulePart(file=str(path)) for path in (*files.before, *files.rules, *files.after)]
        return Loadout(tuple(parts), spec.body_limit, stamp)


def check_rules(loadout: Loadout) -> None:
    """Load the rules in a temporary process. Raises ValueError if they are invalid.

    This call blocks for about 0.3 s.
    """
    settings = {"parts": [asdict(part) for part in loadout.parts], "limit": loadout.body_limit}
    try:
        found = subprocess.run(
            command("check"),
            input=json.dumps(settings).encode(),
            stdout=subprocess.PIPE,
            env=environment(),
            timeout=_CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"rules: loading them takes more than {_CHECK_S:g} s") from None
    if found.returncode:
        words = found.stdout.decode("utf-8", "replace").strip()
        raise ValueError(words or f"rules: cannot be loaded (status {found.returncode})")
