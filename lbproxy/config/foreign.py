"""PURE. Words of HAProxy, nginx and others, with their equivalents in lbproxy.

An unknown key, option or section in one of these tables is answered with the text in the table,
instead of the nearest word.
"""

from __future__ import annotations

__all__ = [
    "foreign_condition",
    "foreign_key",
    "foreign_option",
    "foreign_plugin",
    "foreign_section",
]

_CHECK = "'check = http GET /healthz every=2s rise=2 fall=3' in the backend"
_TIMEOUT = "'timeout_connect', 'timeout_client', 'timeout_server' and others, each with a unit"

_SECTIONS = {
    "global": "[lbproxy]",
    "userlist": "a filter; passwords of operators are in the file of 'admin_tokens'",
    "upstream": "[backend NAME] with 'servers'",
    "server": "[frontend NAME] with 'listen' and 'routes', or [site NAME]",
    "location": "a line of 'routes': 'path /x/* -> BACKEND'",
    "http": "[frontend NAME] with 'mode = http'",
    "stream": "[frontend NAME] with 'mode = tcp'",
    "events": "nothing: connections are limited by 'maxconn'",
    "entrypoints": "[frontend NAME] with 'listen'",
    "routers": "'routes' in [frontend NAME]",
    "services": "[backend NAME]",
    "middlewares": "'filters'",
    "resolvers": "'resolve_every' in [backend NAME]",
    "peers": "nothing: workers share their tables",
}

_KEYS = {
    "bind": "'listen = tcp:80' or 'listen = tls:443 certificates=site.pem'",
    "server": "'servers' with a line 'NAME ADDRESS options' for each server",
    "default_backend": "'backend = NAME', or a route 'default -> NAME'",
    "use_backend": "a line of 'routes': 'host a.example.com path /x/* -> NAME'",
    "acl": "conditions in 'routes', and behind 'if' in 'filters'",
    "option": "a key of its own, such as 'check', 'forwarded' or 'access_log'",
    "timeout": _TIMEOUT,
    "cookie": "'sticky = cookie NAME'",
    "stick": "'sticky = source', 'sticky = header NAME' or 'sticky = learn NAME'",
    "stick-table": "'sticky', or a limit",
    "server-template": "a line of 'servers': 'app-{1..10} dns:app.internal:8000'",
    "default-server": "options on each line of 'servers', and 'check' in the backend",
    "http-request": "a line of 'filters' such as 'set-header request NAME VALUE if path /x/*'",
    "http-response": "a line of 'filters' such as 'set-header response NAME VALUE if status 404'",
    "http-check": _CHECK,
    "tcp-check": "'check = tcp send=... expect=...', or the check of a protocol such as 'pgsql'",
    "httpchk": _CHECK,
    "redirect": "a route '... -> redirect 301 https://{host}{uri}', or such a line of 'filters'",
    "compression": "a filter that compresses",
    "stats": "'admin = tcp:8404:interface=127.0.0.1' in [lbproxy]: API, metrics and dashboard",
    "log": "'access_log = access.log json'",
    "nbthread": "'workers = cpu'",
    "nbproc": "'workers = N'",
    "daemon": "a unit of systemd, or twistd",
    "user": "'User=' in the unit, or twistd --uid",
    "group": "'Group=' in the unit, or twistd --gid",
    "fullconn": "'maxconn' on the lines of 'servers'",
    "errorfile": "the route action 'reply STATUS TEXT'",
    "proxy_pass": "'servers' in [backend NAME], and 'backend = NAME' in the frontend",
    "server_name": "'hosts' in [site NAME], or 'host NAME -> BACKEND' in 'routes'",
    "location": "a line of 'routes': 'path /x/* -> BACKEND'",
    "upstream": "[backend NAME] with 'servers'",
    "proxy_set_header": "'set-header request NAME VALUE' in 'filters'",
    "add_header": "'add-header response NAME VALUE' in 'filters'",
    "rewrite": "'rewrite PATTERN REPLACEMENT' in 'filters'",
    "return": "a route '... -> reply STATUS TEXT' or '... -> redirect STATUS URL'",
    "client_max_body_size": "'max_body = 10m'",
    "keepalive": "'pool_size' in the backend: idle connections are kept without a word",
    "keepalive_timeout": "'timeout_keepalive' in the frontend, 'pool_idle' in the backend",
    "proxy_connect_timeout": "'timeout_connect'",
    "proxy_read_timeout": "'timeout_response' and 'timeout_server'",
    "proxy_cache": "[cache NAME], and 'cache = NAME' in a frontend or at a route",
    "proxy_cache_path": "'memory' in [cache NAME]",
    "proxy_cache_valid": "'ttl' in [cache NAME]: '404,410 10s'",
    "proxy_cache_bypass": "'bypass' in [cache NAME]",
    "proxy_cache_use_stale": "'grace' in [cache NAME]",
    "cache-use": "'cache = NAME' in a frontend or at a route",
    "proxy_buffering": "nothing: bodies are streamed, and backpressure holds the server back",
    "proxy_send_timeout": "'timeout_server'",
    "proxy_next_upstream": "'retry_on' and 'retries'",
    "least_conn": "'balance = leastconn'",
    "ip_hash": "'balance = hash source', or 'sticky = source'",
    "worker_processes": "'workers = cpu'",
    "worker_connections": "'maxconn' in [lbproxy]",
    "ssl_certificate": "'certificates=' behind 'listen = tls:443', or [certificate NAME]",
    "ssl_certificate_key": "'key' in [certificate NAME]; often the key is in the same file",
    "ssl_protocols": "'min_version=1.3' behind 'listen = tls:443'",
    "ssl_ciphers": "'ciphers=' behind 'listen = tls:443'",
    "set_real_ip_from": "'trusted_proxies'",
    "reverse_proxy": "'servers' in [backend NAME], and 'backend = NAME' in the frontend",
    "entrypoints": "'listen' in [frontend NAME]",
    "rule": "a line of 'routes': 'host a.example.com -> BACKEND'",
}

_BALANCERS = {
    "source": "'balance = hash source'",
    "ip_hash": "'balance = hash source'",
    "static-rr": "'balance = roundrobin'",
    "round_robin": "'balance = roundrobin'",
    "least_conn": "'balance = leastconn'",
    "wrr": "'balance = roundrobin' with 'weight=' on the servers",
    "uri": "'balance = hash path'",
    "url_param": "'balance = hash query NAME'",
    "hdr": "'balance = hash header NAME'",
    "maglev": "'balance = hash ...'",
}

_FILTERS = {
    "add_header": "'add-header response NAME VALUE'",
    "proxy_set_header": "'set-header request NAME VALUE'",
    "proxy_hide_header": "'remove-header response NAME'",
    "header_up": "'set-header request NAME VALUE'",
    "header_down": "'set-header response NAME VALUE'",
    "http-request": "'set-header request NAME VALUE', 'rewrite', 'redirect' or 'reply'",
    "http-response": "'set-header response NAME VALUE' and others",
    "return": "'reply STATUS TEXT' or 'redirect STATUS URL'",
    "respond": "'reply STATUS TEXT'",
    "redir": "'redirect STATUS URL'",
    "uri": "'rewrite PATTERN REPLACEMENT'",
    "handle_path": "'rewrite /x/* /*'",
    "strip_prefix": "'rewrite /x/* /*'",
    "stripprefix": "'rewrite /x/* /*'",
    "replacepath": "'rewrite PATTERN REPLACEMENT'",
    "redirectscheme": "'redirect 301 https://{host}{uri}'",
}

_PROBES = {
    "httpchk": "'check = http GET /healthz expect=200'",
    "tcp-check": "'check = tcp send=... expect=...'",
    "pgsql-check": "'check = pgsql user=NAME'",
    "mysql-check": "'check = mysql user=NAME'",
    "redis-check": "'check = redis'",
    "smtpchk": "'check = smtp'",
    "ssl-hello-chk": "'check = tls'",
    "external-check": "'check = exec PROGRAM'",
}

_PLUGINS = {"balancer": _BALANCERS, "filter": _FILTERS, "probe": _PROBES}

_OPTIONS = {
    "check": "'check = tcp' or another check in the backend, for all its servers",
    "inter": "'every=2s' in 'check'",
    "fastinter": "'fast=1s' in 'check'",
    "downinter": "'down=10s' in 'check'",
    "rise": "'rise=2' in 'check'",
    "fall": "'fall=3' in 'check'",
    "port": "'port=' in 'check', or 'check_address' on the server",
    "cookie": "'sticky = cookie NAME' in the backend; values are made from the names of servers",
    "max_fails": "'passive = errors=5 eject=10s' in the backend",
    "fail_timeout": "'passive = errors=5 eject=10s' in the backend",
    "down": "'disabled'",
    "max_conns": "'maxconn='",
    "ssl": "'tls', verified by default; on a listener 'tls:443'",
    "crt": "'certificates='; for a server 'certificate=' with the name of a section",
    "ca-file": "'ca='",
    "send-proxy": "'send_proxy=v1'",
    "send-proxy-v2": "'send_proxy=v2'",
    "accept-proxy": "'accept_proxy=10.0.0.0/8': only from these peers",
    "minconn": "'maxconn=' alone",
    "slowstart": "'slow_start = 30s' in the backend",
    "slow_start": "'slow_start = 30s' in the backend, for all its servers",
    "resolvers": "nothing: names are looked up, and again every 'resolve_every'",
    "default_server": "the listener or route that is written first",
    "http2": "nothing to write: it is offered where it is supported",
}


_CONDITIONS = {
    "location": "'path /x/*', or 'path /x' for one path alone",
    "server_name": "'host NAME'",
    "hostname": "'host NAME'",
    "path_beg": "'path /x/*'",
    "path_end": "'path *.png'",
    "path_reg": "'path ~EXPRESSION'",
    "pathprefix": "'path /x/*'",
    "path_dir": "'path */x/*'",
    "path_sub": "'path *x*'",
    "pathregexp": "'path ~EXPRESSION'",
    "host": "'host NAME'",
    "hostregexp": "'host ~EXPRESSION'",
    "path": "'path /x'",
    "method": "'method GET'",
    "headers": "'header NAME VALUE'",
    "query": "'query NAME VALUE'",
    "hdr": "'header NAME VALUE', or 'host NAME'",
    "hdr_beg": "'header NAME VALUE*', or 'host ~EXPRESSION'",
    "hdr_dom": "'host *.example.com'",
    "hdr_end": "'header NAME *VALUE', or 'host *.example.com'",
    "hdr_reg": "'header NAME ~EXPRESSION'",
    "req.hdr": "'header NAME VALUE', or 'host NAME'",
    "req.ssl_sni": "'sni NAME'",
    "hostsni": "'sni NAME'",
    "ssl_fc_sni": "'sni NAME'",
    "ssl_fc": "'scheme https'",
    "dst_port": "'port NUMBER'",
    "src": "'client 10.0.0.0/8'",
    "remote_ip": "'client 10.0.0.0/8'",
    "clientip": "'client 10.0.0.0/8'",
    "remote_addr": "'client 10.0.0.0/8'",
    "url_param": "'query NAME VALUE'",
    "req.cook": "'cookie NAME VALUE'",
    "acl": "the condition itself, written in each route",
    "use_backend": "'CONDITIONS -> BACKEND'",
    "if": "'CONDITIONS -> BACKEND', without 'if'",
    "proxy_pass": "'CONDITIONS -> BACKEND'",
}


def _said(text: str | None) -> str:
    return f"in lbproxy this is {text}" if text else ""


def foreign_section(kind: str) -> str:
    """Return the equivalent of another program's ``[kind]``, or ""."""
    return _said(_SECTIONS.get(kind.lower()))


def foreign_key(key: str) -> str:
    """Return the equivalent of another program's key, or "".

    Words after the first one, as in ``timeout connect``, are ignored.
    """
    return _said(_KEYS.get(key.split(maxsplit=1)[0].lower() if key.split() else ""))


def foreign_plugin(kind: str, name: str) -> str:
    """Return the equivalent of another program's balancer, filter or check, or ""."""
    return _said(_PLUGINS.get(kind, {}).get(name.lower()))


def foreign_condition(word: str) -> str:
    """Return the equivalent of another program's condition or of its word for a route, or "".

    An argument in parentheses, as in ``hdr(host)``, is ignored.
    """
    return _said(_CONDITIONS.get(word.partition("(")[0].lower()))


def foreign_option(word: str) -> str:
    """Return the equivalent of another program's option of a server or listener, or ""."""
    return _said(_OPTIONS.get(word.lower()))
