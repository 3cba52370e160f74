"""CONTROL. The caches of a configuration: the key of a request, and what happens to it there."""

from __future__ import annotations

from lbproxy.cache.asked import ask
from lbproxy.cache.key import key_of
from lbproxy.cache.policy import Policy
from lbproxy.cache.search import applies
from lbproxy.config.model import BackendSpec, Config, FrontendSpec
from lbproxy.decide.path import DryTraffic
from lbproxy.http.message import RequestHead
from lbproxy.http.route import Route
from lbproxy.proxy.features.caching.conditionlines import held_line
from lbproxy.proxy.features.caching.spec import CacheSpec, policy_of

__all__ = ["cache_lines", "cache_name"]


def cache_name(spec: FrontendSpec, route: Route | None, backend: BackendSpec | None) -> str:
    """Return the name of the cache of a route, "" without one: that of the route itself, or else of
    its backend, or else of the frontend.
    """
    own = None if route is None else route.spec
    names = (getattr(one, "cache", "") for one in (own, backend, spec))
    found: str = next(filter(None, names), "")
    return "" if found == "none" else found


def cache_lines(config: Config, name: str, traffic: DryTraffic, backend: str) -> list[str]:
    """Return the key of a request in the cache ``name``, and the decisions that the configuration
    makes; nothing without a cache.
    """
    spec = next((one for one in config.of(CacheSpec) if one.name == name), None)
    head = traffic.request
    if spec is None or head is None:
        return []
    policy = policy_of(spec)
    reason = _bypass(spec, head, policy, traffic)
    if reason:
        return [f"{name}: goes to a server: {reason}"]
    key = key_of(head, policy, traffic.scheme.encode(), backend.encode())
    names = ("backend",) if policy.key else ("backend", "scheme", "host", "target")
    parts = [f"{word}={_text(part)}" for word, part in zip(names, key, strict=False)]
    lines = [f"{name}: key {' '.join([*parts, *map(_text, key[len(names) :])])}"]
    if held_line(spec.refresh, traffic):
        lines.append(f"{name}: refresh: not looked up, but stored")
    asked = ask(head, policy)
    if asked.cookies and not asked.named:
        lines.append(f"{name}: cookies that the policy does not name: only public responses")
    if asked.authorized:
        lines.append(f"{name}: Authorization: only public, s-maxage or must-revalidate responses")
    if asked.demands(policy):
        lines.append(f"{name}: the client demands a revalidation ({spec.client_no_cache})")
    if applies(key, policy) and b"?" in head.target:
        lines.append(
            f"{name}: No-Vary-Search of a response of this path may ignore parts of the query"
        )
    if spec.prefetch and not asked.cookies and not asked.authorized:
        lines.append(f"{name}: prefetch: links of an HTML page are requested when it is stored")
    lines += [f"{name}: ttl {line}" for line in policy.lines_of(head.path)]
    return lines


def _bypass(spec: CacheSpec, head: RequestHead, policy: Policy, traffic: DryTraffic) -> str:
    """Return why the cache has no part in a request, or ""."""
    if head.method == b"PURGE":
        return "PURGE, for clients in purge_from; others get a 403"
    obstacle = ask(head, policy).obstacle
    if obstacle is not None:
        return obstacle
    held = held_line(spec.bypass, traffic)
    return f"bypass {held}" if held else ""


def _text(part: bytes) -> str:
    text = part.decode("latin-1")
    return text if text.isprintable() and " " not in text else repr(text)
