"""CONTROL. Calls of a CORS proxy without traffic, for ``lbproxy explain`` and ``replay``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lbproxy.config.model import Config
from lbproxy.cors.call import Call, CallError
from lbproxy.cors.keys import KeyRecord, KeyRing
from lbproxy.cors.quota import Quota
from lbproxy.decide.caching import cache_lines, cache_name
from lbproxy.decide.path import DryTraffic
from lbproxy.guard import Guard, TargetRefused
from lbproxy.guard.configured import configured_judge
from lbproxy.http.message import RequestHead
from lbproxy.net.interfaces import local_addresses
from lbproxy.proxy.features.corsproxy.egress import EgressSpec, ExitNames
from lbproxy.proxy.features.corsproxy.heads import FetchRules, cached_request, sharing_name
from lbproxy.proxy.features.corsproxy.judge import AllowedCall, CallJudge, CallRefused
from lbproxy.proxy.features.corsproxy.keyedit import key_words, quota_words, read_keys
from lbproxy.proxy.features.corsproxy.keyusage import usage_of_subjects
from lbproxy.proxy.features.corsproxy.quotas import origin_subject
from lbproxy.proxy.features.corsproxy.spec import origin_quota, usage_path

__all__ = ["DryCalls", "cors_summaries"]

_REFUSALS = (CallError, CallRefused, TargetRefused)


class DryCalls:
    """The calls of one frontend, ``spec``, by the files as they are now."""

    def __init__(self, config: Config, spec: Any) -> None:
        self._config = config
        self._spec = spec
        self._trouble = ""
        self._ring = KeyRing()
        if spec.keys:
            try:
                self._ring = read_keys(Path(spec.keys))
            except (OSError, ValueError) as error:
                words = error.strerror if isinstance(error, OSError) else str(error)
                self._trouble = f"{spec.keys}: {words}"
        judge = configured_judge(config, local_addresses())
        self._exits = ExitNames(config.of(EgressSpec), spec.egress)
        self._judge = CallJudge(
            spec,
            Guard(judge, ports=spec.guard_ports),
            (lambda: self._ring) if spec.keys else None,
            self._exits,
        )

    def explain(self, traffic: DryTraffic) -> tuple[list[str], str, str]:
        """Return a line for each decision, what lbproxy does, and how it refuses; one of the last
        two is "".
        """
        head = traffic.request
        assert head is not None
        lines: list[str] = []
        try:
            for line in self._steps(head, traffic):
                lines.append(line)
        except _REFUSALS as error:
            return lines, "", f"refused with {_status(error)}: {error}"
        if self._answers_itself(head):
            return lines, "answered by lbproxy itself", ""
        return lines, "fetches the URL that the call names (mode = corsproxy)", ""

    def _answers_itself(self, head: RequestHead) -> bool:
        judge = self._judge
        return bool(judge.page(head, head.target)) or judge.preflight(head) is not None

    def judged(self, head: RequestHead) -> tuple[str, str]:
        """Return target and exit of a logged request, or how it is refused.

        Key and Origin are not in a log, and count as allowed.
        """
        judge = self._judge
        page = judge.page(head, head.target)
        if page:
            return f"the page {page}", ""
        try:
            call = judge.call(head, head.target)
            name = judge.exit_name(call)
            target = judge.target(call, None)
        except _REFUSALS as error:
            return "", f"{_status(error)} {error}"
        return f"{target.url} by {name or 'the direct way'}", ""

    def _steps(self, head: RequestHead, traffic: DryTraffic) -> Iterator[str]:
        judge, now = self._judge, time.time()
        if page := judge.page(head, head.target):
            yield f"the page {page}"
            return
        judge.check_request(head)
        origin = head.header(b"origin")
        yield f"origin {origin.decode('latin-1')}: allowed" if origin else "no Origin: allowed"
        if judge.preflight(head) is not None:
            yield "a preflight: answered with 204"
            return
        call = judge.call(head, head.target)
        if self._trouble:
            yield self._trouble
        record = judge.record(call, head, head.header(b"referer"), now)
        yield "no key needed" if record is None else f"key {' '.join(_of_key(record, now))}"
        name = judge.exit_name(call)
        yield self._exit(call, name)
        target = judge.target(call, record)
        judge.check_scheme(target, head)
        literal = "judged" if target.literal else "addresses are judged when it is resolved"
        yield f"target {target.url}: allowed, {literal}"
        yield from self._quotas(record, origin, now)
        asked = judge.judge(head, head.target, head.header(b"referer"), now)
        yield from self._cache(head, asked, traffic)

    def _exit(self, call: Call, name: str) -> str:
        if not name:
            unused = f"; colo={call.colo} has no effect" if call.colo else ""
            return f"exit direct{unused}"
        way = next(way for one, _, way in self._exits.rows if one == name)
        return f"exit {name}, by {way}"

    def _quotas(self, record: KeyRecord | None, origin: bytes | None, now: float) -> Iterator[str]:
        path = usage_path(self._spec)
        if record is not None:
            yield f"quota of key {record.name}: {_used(record.sha256, record.quota, path, now)}"
        quota = origin_quota(self._spec)
        if quota and origin is not None:
            text = origin.decode("latin-1")
            yield f"quota of origin {text}: {_used(origin_subject(text), quota, path, now)}"

    def _cache(self, head: RequestHead, asked: AllowedCall, traffic: DryTraffic) -> Iterator[str]:
        """Return the key of the call in the cache, if the frontend has one."""
        name = cache_name(self._spec, None, None)
        if not name:
            return
        rules = FetchRules.of(self._spec)
        seen = DryTraffic(
            cached_request(head, asked, rules), traffic.client_ip, scheme=asked.target.scheme
        )
        backend = sharing_name(self._spec.name, asked, rules)
        for line in cache_lines(self._config, name, seen, backend):
            yield f"cache {line}"


def cors_summaries(config: Config) -> Iterator[str]:
    """Yield a line for each CORS proxy, for ``lbproxy check``: who may call, quotas and exits."""
    names = ["direct", *(spec.name for spec in config.of(EgressSpec))]
    for one in config.frontends:
        spec: Any = one
        if spec.mode != "corsproxy":
            continue
        words = [f"origins {' '.join(spec.origins)}"] if spec.origins else []
        if spec.open:
            words.append("open to everybody")
        if spec.keys:
            words.append(_keys_words(Path(spec.keys)))
        quota = origin_quota(spec)
        if quota:
            words.append(f"each origin {' '.join(quota_words(quota))}")
        words.append(f"ports {' '.join(map(str, spec.guard_ports))}")
        words.append(f"exits {' '.join(names)}")
        yield f"CORS proxy {spec.name}: {', '.join(words)}"


def _keys_words(path: Path) -> str:
    """Return a summary of a file of keys."""
    try:
        records = read_keys(path).records
    except (OSError, ValueError):
        return f"keys of {path}"
    now = time.time()
    expired = sum(one.is_expired(now) for one in records)
    free = sum(not one.quota for one in records)
    words = [f"{len(records)} keys of {path}"]
    words += [f"{expired} expired"] if expired else []
    words += [f"{free} without a quota"] if free else []
    return " with ".join([words[0], " and ".join(words[1:])]) if words[1:] else words[0]


def _used(subject: str, quota: Quota, path: str, now: float) -> str:
    """Return what is used of a quota, as far as a file has it."""
    if not quota:
        return "none"
    if not path:
        return "counted in the memory of lbproxy"
    try:
        found = usage_of_subjects([("", subject, quota)], path, now)[0]["quotas"]
    except (OSError, ValueError) as error:
        return f"usage is unknown ({error})"
    words = [f"{used} of {most} {unit} used" for unit, (used, most) in found.items()]
    if quota.concurrent:
        words.append(f"{quota.concurrent} calls at once")
    if any(used >= most for used, most in found.values()):
        words.append("refused with 429 now")
    return ", ".join(words)


def _of_key(record: KeyRecord, now: float) -> list[str]:
    return [record.name, *key_words(record, now)]


def _status(error: Exception) -> int:
    if isinstance(error, CallRefused):
        return error.status
    return 403 if isinstance(error, TargetRefused) else 400
