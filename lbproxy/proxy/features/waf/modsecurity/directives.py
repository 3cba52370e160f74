"""PURE. Directives that lbproxy passes to libmodsecurity before, between and after the rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from lbproxy.waf.exclusion import Exclusion

__all__ = [
    "ENVIRONMENT",
    "audit_directives",
    "default_directives",
    "engine_directives",
    "setting_directives",
]

ENVIRONMENT: Final = "LBPROXY_WAF_EXCLUDED"
"""Environment variable with the numbers of the exclusions that apply to the current request.

The C interface has no call for an action on one transaction. Rules can read this variable, and
clients cannot set it.
"""

PARTIAL: Final = "partial"
"""Word in :data:`ENVIRONMENT` for an incomplete body."""

FIRST_ID: Final = 99_000_001
"""Id of the first rule of lbproxy, above all ids that rule sets use."""

_NAMES: Final = {
    "ARGS": ("ARGS",),
    "ARGS_NAMES": ("ARGS_NAMES",),
    "BODY": ("REQUEST_BODY",),
    "COOKIES": ("REQUEST_COOKIES",),
    "COOKIES_NAMES": ("REQUEST_COOKIES_NAMES",),
    "FILES": ("FILES",),
    "FILES_NAMES": ("FILES_NAMES",),
    "HEADERS": ("REQUEST_HEADERS",),
    "METHOD": ("REQUEST_METHOD",),
    "PATH": ("REQUEST_FILENAME", "REQUEST_BASENAME"),
    "TARGET": ("REQUEST_URI", "REQUEST_URI_RAW", "REQUEST_LINE", "QUERY_STRING"),
}
"""Parts of an exclusion, and the corresponding rule variables."""

_ENGINE: Final = """
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit {limit}
SecRequestBodyNoFilesLimit {limit}
SecRequestBodyLimitAction ProcessPartial
SecRequestBodyJsonDepthLimit 512
SecResponseBodyAccess {responses}
SecResponseBodyMimeType text/plain text/html text/xml application/json application/xml
SecResponseBodyLimit {limit}
SecResponseBodyLimitAction ProcessPartial
SecArgumentSeparator &
SecCookieFormat 0
SecPcreMatchLimit 100000
SecPcreMatchLimitRecursion 100000
"""

_BODIES: Final = """
SecRule ENV:{environment} "@contains {partial}" "id:{first},phase:1,pass,nolog,t:none,\
skipAfter:END_LBPROXY_BODIES"
SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:application(?:/soap\\+|/)|text/)xml" \
"id:{0},phase:1,pass,nolog,t:none,t:lowercase,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/(?:[a-z0-9.-]+\\+)?json" \
"id:{1},phase:1,pass,nolog,t:none,t:lowercase,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:{2},phase:2,deny,status:400,log,t:none,severity:2,\
msg:'The body is not what its Content-Type says'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:{3},phase:2,deny,status:400,log,t:none,severity:2,\
msg:'The body is no valid multipart'"
SecMarker END_LBPROXY_BODIES
SecRule ENV:{environment} "@contains {partial}" "id:{4},phase:1,pass,nolog,t:none,chain"
SecRule REQUEST_HEADERS:Content-Type "!@beginsWith multipart/" \
"t:none,t:lowercase,ctl:requestBodyProcessor=URLENCODED"
"""

_METHODS: Final = "GET HEAD POST OPTIONS PUT PATCH DELETE"
_JSON: Final = ("", "problem+", "vnd.api+", "merge-patch+", "json-patch+", "ld+", "geo+", "scim+")
_TYPES: Final = (
    *("application/x-www-form-urlencoded", "multipart/form-data", "multipart/related"),
    *("text/xml", "application/xml", "application/soap+xml"),
    *(f"application/{name}json" for name in _JSON),
    *("application/cloudevents+json", "application/cloudevents-batch+json"),
)

BROKEN_IDS: Final = (FIRST_ID + 3, FIRST_ID + 4)
"""Rules whose match means that a body is broken."""


def engine_directives(limit: int, *, responses: bool) -> str:
    """Return the directives of the engine. ``limit``: bytes of a body."""
    ids = [FIRST_ID + place for place in range(1, 6)]
    bodies = _BODIES.format(*ids, first=FIRST_ID, environment=ENVIRONMENT, partial=PARTIAL)
    return _ENGINE.format(limit=limit, responses="On" if responses else "Off") + bodies


def default_directives() -> str:
    """Return the directives before the set-up file, which may override them.

    By default, the Core Rule Set treats PUT, PATCH, DELETE and most types of JSON as attacks.
    """
    types = " ".join(f"|{one}|" for one in _TYPES)
    return (
        f'SecAction "id:{FIRST_ID + 50},phase:1,pass,nolog,t:none,'
        f"setvar:'tx.allowed_methods={_METHODS}',"
        f"setvar:'tx.allowed_request_content_type={types}'\"\n"
    )


def audit_directives(path: str) -> str:
    """Return the directives that write the rules of each transaction to ``path``, as JSON."""
    return (
        "SecAuditEngine RelevantOnly\n"
        'SecAuditLogRelevantStatus "^$"\n'
        "SecAuditLogParts AHZ\nSecAuditLogFormat JSON\nSecAuditLogType Serial\n"
        f"SecAuditLog {path}\n"
    )


def setting_directives(
    paranoia: int | None, threshold: int | None, exclude: Sequence[Exclusion], ids: Iterable[int]
) -> str:
    """Return the directives after the set-up file. None keeps the setting of that file.

    ``ids``: the ids of all rules. Raises ValueError for an exclusion of an unknown rule, or with a
    wildcard.
    """
    next_id = FIRST_ID + 100
    lines = []
    settings = []
    if paranoia is not None:
        names = ("paranoia_level", "blocking_paranoia_level")
        settings += [f"setvar:tx.{name}={paranoia}" for name in names]
    if threshold is not None:
        settings.append(f"setvar:tx.inbound_anomaly_score_threshold={threshold}")
    if settings:
        lines.append(f'SecAction "id:{next_id},phase:1,pass,nolog,t:none,{",".join(settings)}"')
    known = sorted(ids)
    for number, one in enumerate(exclude):
        controls = _controls(one, known)
        action = f"id:{next_id + 1 + number},phase:1,pass,nolog,t:none,{','.join(controls)}"
        if one.conditions:
            lines.append(f'SecRule ENV:{ENVIRONMENT} "@contains ,{number}," "{action}"')
        else:
            lines.append(f'SecAction "{action}"')
    return "\n".join(lines) + "\n"


def _controls(one: Exclusion, known: Sequence[int]) -> list[str]:
    rules = [rule for rule in known if one.first <= rule <= one.last]
    span = str(one.first) if one.first == one.last else f"{one.first}-{one.last}"
    if not rules:
        raise ValueError(f"exclude: the rule set has no rule {span}")
    if not one.part:
        return [f"ctl:ruleRemoveById={rule}" for rule in rules]
    kind, colon, name = one.part.partition(":")
    if set("*?[") & set(name) or set("\"'\\,;") & set(name):
        message = f"exclude: {one.part}: with 'rules' a part has no wildcards and no {chr(34)}',;"
        raise ValueError(message)
    if kind == "HEADERS":
        name = name.lower()
    targets = [f"{target}{colon}{name}" for target in _NAMES[kind]]
    if kind == "ARGS" and name:
        targets.append(f"ARGS:json.{name}")  # the engine's name for a member of a JSON body
    return [f"ctl:ruleRemoveTargetById={rule};{target}" for rule in rules for target in targets]
