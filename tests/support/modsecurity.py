"""libmodsecurity and the OWASP Core Rule Set for tests."""

from __future__ import annotations

from pathlib import Path

from lbproxy.proxy.features.waf.modsecurity.bindings import Library, MissingLibrary
from tests.support.required import missing

__all__ = ["CRS", "RULES", "library", "small_rules", "with_core_rules"]

CRS = "/usr/share/modsecurity-crs"
"""The folder of Debian's package."""

RULES = """
SecRule ARGS:q "@contains attack" "id:100,phase:2,deny,status:403,log,severity:2,msg:'An attack'"
SecRule ARGS:q "@contains odd" "id:101,phase:2,pass,log,severity:4,msg:'Odd'"
SecRule RESPONSE_BODY "@contains secret" "id:102,phase:4,deny,log,severity:2,msg:'A leak'"
"""


def library() -> Library:
    """Load the library; without it the test is skipped, or fails where it must not be."""
    try:
        return Library()
    except MissingLibrary as error:
        missing(str(error))


def with_core_rules() -> None:
    """Skip or fail without the library or the rule set."""
    library().close()
    if not Path(CRS).is_dir():
        missing("modsecurity-crs is not installed")


def small_rules(folder: Path, rules: str = RULES) -> Path:
    """Write a rule set that loads fast; return its folder."""
    made = folder / "rules-folder"
    made.mkdir(exist_ok=True)
    (made / "crs-setup.conf").write_text("")
    (made / "rules.conf").write_text(rules)
    return made
