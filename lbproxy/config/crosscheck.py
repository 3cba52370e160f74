"""PURE. What must hold between sections.  Called once by :mod:`lbproxy.config.build`, which reads them.

A key that already has a mistake of its own (``Draft.broken``) is not judged again, so that one mistake
is one error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any

import attrs

from lbproxy.config.alerts import check_alerts
from lbproxy.config.draft import SECTIONS, Draft, Drafts
from lbproxy.config.errors import Problems, nearest_word
from lbproxy.config.lines import LOG_FILE, LOG_SYSLOG
from lbproxy.config.model import (
    Address,
    BackendSpec,
    CheckSpec,
    LogSpec,
    MirrorSpec,
    Mode,
    PassiveSpec,
    PluginSpec,
    RebalanceSpec,
    ServerSpec,
    Where,
)
from lbproxy.config.noeffect import (
    check_backend_effects,
    check_log_effects,
    check_settings_effects,
)
from lbproxy.config.options import Spot, option_fields
from lbproxy.config.plugins import trial

__all__ = ["check"]


def check(drafts: Drafts, problems: Problems, exists: Callable[[str], bool]) -> None:
    """Report to ``problems`` and settle every backend's mode."""
    _Checker(drafts, problems, exists).run()


class _Checker:
    def __init__(self, drafts: Drafts, problems: Problems, exists: Callable[[str], bool]) -> None:
        self.drafts, self.problems, self.exists = drafts, problems, exists
        self.backends = drafts.names("backend")
        self.certificates = drafts.names("certificate")

    def run(self) -> None:
        frontends, backends = self.drafts.of("frontend"), self.drafts.of("backend")
        for frontend in frontends:
            self._frontend(frontend)
        self._addresses(frontends)
        self._modes(frontends, backends)
        for backend in backends:
            self._mirror(backend)
        for backend in backends:
            self._backend(backend)
        for draft in self.drafts.of("certificate"):
            self._certificate(draft)
        for draft in self.drafts.of("lbproxy"):
            self._secret(draft)
        self._logs(frontends)
        for draft in self.drafts.of("lbproxy"):
            self._admin(draft)
            self._workers(draft, frontends)
            check_settings_effects(draft, self.problems)
        for draft in self.drafts.of("alerts"):
            check_alerts(draft, self.problems, self.exists)

    def _wrong(self, draft: Draft, where: Where, key: str, message: str, **more: Any) -> None:
        self.problems.add(where, draft.title, key, message, **more)

    # -- frontends ---------------------------------------------------------------------------------

    def _frontend(self, draft: Draft) -> None:
        if "listen" not in draft.broken and not draft.get("listen"):
            self._wrong(draft, draft.line("listen"), "listen", "the frontend has no listener")
        keys = ("backend", "routes")
        if not any(draft.get(key) for key in keys) and not draft.broken.intersection(keys):
            self._wrong(
                draft,
                draft.where,
                "",
                "the frontend has neither a backend nor routes; traffic has nowhere to go",
            )
        name = draft.get("backend", "")
        if name and name not in self.backends:
            self._wrong(
                draft, draft.line("backend"), "backend", f"there is no backend {name!r}",
                found=name, known=sorted(self.backends),
            )  # fmt: skip
        self._defaults(draft)
        for listen in draft.get("listen"):
            self._files(draft, "listen", listen.where, listen.certificates)
        forwarded = draft.get("forwarded")
        if "none" in forwarded and len(forwarded) > 1:
            self._wrong(draft, draft.line("forwarded"), "forwarded", "'none' stands alone")
        self._plugins(draft, draft.mode, "filters", draft.get("filters"))
        actions = [route.action for route in draft.get("routes") if route.action is not None]
        self._plugins(draft, draft.mode, "routes", actions)
        self._http_only(draft, draft.mode)

    def _defaults(self, draft: Draft) -> None:
        first = None
        for route in draft.get("routes"):
            if first is not None:
                self._wrong(
                    draft,
                    route.where,
                    "routes",
                    f"never reached: the default at {first} takes everything",
                )
            elif not route.conditions:
                first = route.where
                if draft.get("backend", ""):
                    self._wrong(
                        draft,
                        route.where,
                        "routes",
                        "'default' and the key backend say the same thing twice; keep one",
                    )

    def _addresses(self, frontends: list[Draft]) -> None:
        seen: dict[Address, Where] = {}
        lines = [(draft, "listen") for draft in frontends]
        lines += [(draft, "admin") for draft in self.drafts.of("lbproxy")]
        for draft, key in lines:
            for listen in draft.get(key):
                address = listen.address
                if address is None or (address.kind == "tcp" and address.port == 0):
                    continue
                if address.host == "0.0.0.0":
                    address = Address("tcp", "", address.port)
                first = seen.setdefault(address, listen.where)
                if first is not listen.where:
                    self._wrong(
                        draft,
                        listen.where,
                        key,
                        f"{listen.endpoint!r} is the same address as at {first}",
                    )

    # -- modes -------------------------------------------------------------------------------------

    def _modes(self, frontends: list[Draft], backends: list[Draft]) -> None:
        users: dict[str, dict[Mode, tuple[Draft, Where]]] = {}
        doubtful: set[str] = set()
        for draft in frontends:
            for name, where in _targets(draft):
                if "mode" in draft.broken:
                    doubtful.add(name)
                else:
                    users.setdefault(name, {}).setdefault(draft.mode, (draft, where))
        unread = any({"routes", "backend"} & draft.broken for draft in frontends)
        unread |= any("mirror" in draft.broken for draft in backends)
        unread |= not self._mirrors() <= self.backends
        unread |= any(self._mirror_of(draft) == draft.name for draft in backends)
        for backend in backends:
            used = users.get(backend.name, {})
            if "mode" in backend.broken or backend.name in doubtful:
                continue
            self._one_mode(backend, used, unread or bool(self.drafts.doubtful))

    def _one_mode(
        self, backend: Draft, used: dict[Mode, tuple[Draft, Where]], unread: bool
    ) -> None:
        written: Mode | None = backend.values.get("mode")
        if written:
            for mode, (frontend, where) in used.items():
                if mode != written:
                    self._wrong(
                        backend, backend.line("mode"), "mode",
                        f"{written!r}, but frontend {frontend.name!r} at {where} is {mode!r}", found=written,
                    )  # fmt: skip
            return
        if len(used) > 1:
            both = " and ".join(f"{d.name!r} ({mode}, {w})" for mode, (d, w) in used.items())
            self._wrong(backend, backend.where, "mode", f"used by frontends of both modes: {both}")
        elif used:
            backend.values["mode"] = next(iter(used))
        elif backend.name in self._mirrors():
            backend.values["mode"] = "http"
        elif not unread:
            self._wrong(
                backend, backend.where, "mode",
                "no frontend uses this backend; write its mode (tcp or http), or remove it",
            )  # fmt: skip

    def _mirrors(self) -> set[str]:
        """Backends that are somebody's mirror."""
        return {self._mirror_of(draft) for draft in self.drafts.of("backend")} - {""}

    @staticmethod
    def _mirror_of(draft: Draft) -> str:
        spec: MirrorSpec | None = draft.get("mirror", None)
        return spec.backend if spec is not None else ""

    # -- backends ----------------------------------------------------------------------------------

    def _backend(self, draft: Draft) -> None:
        servers = draft.get("servers")
        if not servers and "servers" not in draft.broken:
            self._wrong(draft, draft.line("servers"), "servers", "the backend has no servers")
        names: dict[str, Where] = {}
        for server in servers:
            first = names.setdefault(server.name, server.where)
            if first is not server.where:
                self._wrong(
                    draft, server.where, "servers", f"server {server.name!r} is there already, at {first}",
                    found=server.name,
                )  # fmt: skip
            self._server(draft, server)
        mode: Mode | None = draft.values.get("mode")
        balancer: PluginSpec | None = draft.get("balance", None)
        if balancer is not None:
            self._balancer(draft, balancer, mode)
        sticky: PluginSpec | None = draft.get("sticky", None)
        if mode is not None:
            self._plugins(draft, mode, "filters", draft.get("filters"))
            self._plugins(draft, mode, "sticky", () if sticky is None else (sticky,))
            self._http_only(draft, mode)
        check: CheckSpec | None = draft.get("check", None)
        if check is not None:
            self._check(draft, check, servers)
        self._passive(draft, mode)
        self._rebalance(draft, mode)
        self._hedge(draft)
        check_backend_effects(draft, self.problems)
        fields = attrs.fields_dict(BackendSpec)
        least, most = draft.get("pool_min", 0), draft.get("pool_size", fields["pool_size"].default)
        if "pool_size" not in draft.broken and least > most:
            message = f"must be at most pool_size, which is {most}"
            self._wrong(draft, draft.line("pool_min"), "pool_min", message, found=str(least))

    def _rebalance(self, draft: Draft, mode: Mode | None) -> None:
        spec: RebalanceSpec | None = draft.get("rebalance", None)
        if spec is None:
            return
        spot = Spot(self.problems, draft.title, "rebalance", spec.where)
        wanted = {"websocket": "http", "tcp": mode}.get(spec.protocol, "tcp")
        if mode is not None and mode != wanted:
            spot.wrong(
                f"{spec.protocol} is for backends with mode {wanted}, and this one is {mode}",
                found=spec.protocol,
            )
        sticky: PluginSpec | None = draft.get("sticky", None)
        if sticky is not None and not getattr(sticky.cls, "forgets", False):
            spot.wrong(
                f"sticky = {sticky.name} would send every moved client straight back: its cookie names the server",
                found=sticky.name,
            )

    def _hedge(self, draft: Draft) -> None:
        if not draft.get("hedge", 0.0):
            return
        line = draft.line("hedge")
        if draft.get("sticky", None) is not None:
            message = "sends a request to a second server, and sticky keeps a client to one"
            self._wrong(draft, line, "hedge", message)
        retries = attrs.fields_dict(BackendSpec)["retries"].default
        if not draft.get("retries", retries) and "retries" not in draft.broken:
            self._wrong(draft, line, "hedge", "needs retries, which is 0: a second attempt is one")

    def _mirror(self, draft: Draft) -> None:
        spec: MirrorSpec | None = draft.get("mirror", None)
        if spec is None:
            return
        target = self.drafts.find("backend", spec.backend)
        spot = Spot(self.problems, draft.title, "mirror", spec.where)
        if spec.backend not in self.backends:
            message = f"there is no backend {spec.backend!r}"
            spot.wrong(message, found=spec.backend, known=sorted(self.backends))
        elif spec.backend == draft.name:
            spot.wrong("a backend cannot be its own mirror", found=spec.backend)
        elif target is not None and target.values.get("mode") == "tcp":
            spot.wrong(f"backend {spec.backend!r} is tcp; a mirror is http", found=spec.backend)

    def _passive(self, draft: Draft, mode: Mode | None) -> None:
        spec: PassiveSpec | None = draft.get("passive", None)
        if spec is None or mode != "tcp" or spec.count == PassiveSpec().count:
            return
        for cause in ("junk", "5xx"):
            if cause in spec.count:
                self._wrong(
                    draft, draft.line("passive"), "passive",
                    f"count: {cause!r} is about HTTP responses, and this backend is tcp", found=cause,
                )  # fmt: skip

    def _server(self, draft: Draft, server: Any) -> None:
        name = server.certificate
        if name and name not in self.certificates:
            self._wrong(
                draft, server.where, "servers", f"there is no certificate {name!r}",
                found=name, known=sorted(self.certificates),
            )  # fmt: skip
        if server.ca and not self.exists(server.ca):
            self._wrong(
                draft, server.where, "servers", f"ca: no such file: {server.ca}", found=server.ca
            )

    def _balancer(self, draft: Draft, spec: PluginSpec, mode: Mode | None) -> None:
        spot = Spot(self.problems, draft.title, "balance", spec.where)
        balancer = trial(spec, spot, draft.name)
        if balancer is None or mode != "tcp":
            return
        try:
            needs = {str(getattr(need, "value", need)) for need in balancer.needs}
        except Exception as error:
            spot.wrong(f"{spec.name}: its needs raised {type(error).__name__}: {error}")
            return
        if "request" in needs:
            spot.wrong(
                f"{spec.name!r}, as written, looks at the HTTP request, which a backend in tcp mode does not have",
                found=spec.name,
            )

    def _check(self, draft: Draft, check: CheckSpec, servers: Sequence[ServerSpec]) -> None:
        if servers and all(server.no_check for server in servers):
            self._wrong(draft, draft.line("check"), "check", "every server says no_check")
        spot = Spot(self.problems, draft.title, "check", check.where)
        probe = trial(check.probe, spot, draft.name)
        if probe is None:
            return
        secure = bool(getattr(probe, "secure", False))
        if secure and check.no_tls:
            spot.wrong(
                f"{check.probe.name!r}, as written, needs TLS; 'no_tls' cannot be", found="no_tls"
            )
        if check.ca and not self.exists(check.ca):
            spot.wrong(f"ca: no such file: {check.ca}", found=check.ca)
        if not (secure or check.tls or any(server.tls for server in servers)):
            given = {"sni": check.sni, "ca": check.ca, "verify": check.verify is not None}
            for name in (name for name, value in given.items() if value):
                spot.wrong(f"option {name!r} has no effect without 'tls'", found=name)

    # -- the admin side ------------------------------------------------------------------------------

    def _admin(self, draft: Draft) -> None:
        """Who is not on this machine must show who they are."""
        tokens = draft.get("admin_tokens", "")
        if tokens and not self.exists(tokens):
            self._wrong(
                draft,
                draft.line("admin_tokens"),
                "admin_tokens",
                f"no such file: {tokens}",
                found=tokens,
            )
        for spec in draft.get("admin"):
            self._files(draft, "admin", spec.where, spec.certificates)
            if spec.client_ca and not self.exists(spec.client_ca):
                self._wrong(
                    draft,
                    spec.where,
                    "admin",
                    f"client_ca: no such file: {spec.client_ca}",
                    found=spec.client_ca,
                )
            if tokens or spec.client_ca or "admin_tokens" in draft.broken or local(spec.address):
                continue
            self._wrong(
                draft, spec.where, "admin",
                f"{spec.endpoint!r} can be reached from other machines, and anybody there could change everything: "
                "set admin_tokens, use tls: with client_ca=, or listen on the loopback interface "
                "(tcp:8404:interface=127.0.0.1) or on unix:PATH", found=spec.endpoint,
            )  # fmt: skip

    def _workers(self, draft: Draft, frontends: Sequence[Draft]) -> None:
        """Several processes share what we bind ourselves."""
        if draft.get("workers", 1) == 1:
            return
        for frontend in frontends:
            for listen in frontend.get("listen"):
                if listen.address is None:
                    self._wrong(
                        frontend,
                        listen.where,
                        "listen",
                        f"{listen.endpoint!r} can only be used with workers = 1",
                        found=listen.endpoint,
                    )

    # -- shared ------------------------------------------------------------------------------------

    def _plugins(self, draft: Draft, mode: Mode, key: str, specs: Iterable[PluginSpec]) -> None:
        if "mode" in draft.broken:
            return
        for spec in specs:
            spot = Spot(self.problems, draft.title, key, spec.where)
            modes = getattr(spec.cls, "modes", None)
            try:
                if isinstance(modes, property):
                    made = trial(spec, spot, draft.name)
                    modes = None if made is None else made.modes
                modes = None if modes is None else frozenset(modes)
            except Exception as error:
                spot.wrong(f"{spec.name}: its modes raised {type(error).__name__}: {error}")
                continue
            if modes is not None and mode not in modes:
                allowed = " and ".join(sorted(modes))
                spot.wrong(
                    f"{spec.name!r} works in {allowed} mode, not in {mode} mode", found=spec.name
                )

    def _http_only(self, draft: Draft, mode: Mode) -> None:
        if mode != "tcp" or "mode" in draft.broken:
            return
        fields = option_fields(SECTIONS[draft.kind])
        for key, where in draft.lines.items():
            if fields[key].metadata.get("http_only"):
                self._wrong(draft, where, key, f"only for http mode, and this {draft.kind} is tcp")

    def _certificate(self, draft: Draft) -> None:
        if "certificate" not in draft.lines:
            self._wrong(
                draft,
                draft.where,
                "certificate",
                "the key is missing: the PEM file of the certificate",
            )
        for key in ("certificate", "key"):
            path = draft.get(key, "")
            if path and not self.exists(path):
                self._wrong(draft, draft.line(key), key, f"no such file: {path}", found=path)
            elif key == "certificate" and path == "" and key in draft.values:
                self._wrong(draft, draft.line(key), key, "the path is empty")

    def _files(self, draft: Draft, key: str, where: Where, items: Iterable[str]) -> None:
        for item in items:
            if item in self.certificates or self.exists(item):
                continue
            near = nearest_word(item.rpartition("/")[2], self.certificates)
            hint = f"; did you mean the certificate {near!r}?" if near else ""
            self._wrong(
                draft,
                where,
                key,
                f"no such file or folder, nor a [certificate] section: {item}{hint}",
                found=item,
            )

    def _secret(self, draft: Draft) -> None:
        secret: str = draft.get("secret", "")
        path = secret.removeprefix("file:")
        if path != secret and not self.exists(path):
            self._wrong(draft, draft.line("secret"), "secret", f"no such file: {path}", found=path)

    def _logs(self, frontends: list[Draft]) -> None:
        """A format is judged by the modes it is used in; the common one is reported once."""
        found = [d for d in self.drafts.of("lbproxy") if d.get("access_log", None) is not None]
        modes = {
            d.mode for d in frontends if "mode" not in d.broken and "access_log" not in d.lines
        }
        for draft in found:
            self._log(draft, draft.get("access_log"), modes or {"http"})
        for draft in frontends:
            if draft.get("access_log", None) is not None and "mode" not in draft.broken:
                self._log(draft, draft.get("access_log"), {draft.mode})
        self._same_target(
            [*found, *(d for d in frontends if d.get("access_log", None) is not None)]
        )

    def _same_target(self, drafts: list[Draft]) -> None:
        """A target is written in one way, whoever writes there."""
        first: dict[str, LogSpec] = {}
        for draft in drafts:
            log: LogSpec = draft.get("access_log")
            other = first.setdefault(log.path, log)
            for name in (*LOG_FILE, *LOG_SYSLOG):
                if log.path and getattr(log, name) != getattr(other, name):
                    self._wrong(
                        draft, log.where, "access_log",
                        f"{name} is not as at {other.where}, which writes to the same place", found=name,
                    )  # fmt: skip
                    break

    def _log(self, draft: Draft, log: LogSpec, modes: set[Mode]) -> None:
        from lbproxy.observe.accesslog import check_format

        check_log_effects(log, Spot(self.problems, draft.title, "access_log", log.where))
        for mode in sorted(modes):
            try:
                check_format(log.format, mode)
            except ValueError as error:
                spot = Spot(self.problems, draft.title, "access_log", log.where)
                spot.caught(error)
                return


def local(address: Address) -> bool:
    """Only programs on this machine can come there."""
    if address.kind == "unix":
        return True
    try:
        return ip_address(address.host).is_loopback
    except ValueError:
        return False


def _targets(draft: Draft) -> list[tuple[str, Where]]:
    """Backends a frontend names, and where."""
    found = [(route.backend, route.where) for route in draft.get("routes") if route.backend]
    if draft.get("backend", ""):
        found.append((draft.get("backend"), draft.line("backend")))
    return found
