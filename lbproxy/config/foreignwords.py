"""PURE. Sections, plugins, options and conditions of HAProxy, nginx, Traefik, Caddy and Apache, with
their equivalents, for :mod:`lbproxy.config.foreign`.  Keys are in
:mod:`lbproxy.config.foreignkeys`.
"""

from __future__ import annotations

__all__ = ["CONDITIONS", "OPTIONS", "PLUGINS", "SECTIONS"]

SECTIONS = {
    "global": "[lbproxy]",
    "userlist": "a filter of your own in Python; operators are in the file of 'admin_tokens'",
    "upstream": "[backend NAME] with 'servers'",
    "server": "[frontend NAME] with 'listen' and 'routes', or [site NAME]",
    "location": "a line of 'routes': 'path /x/* -> BACKEND'",
    "http": "[frontend NAME] with 'mode = http'",
    "stream": "[frontend NAME] with 'mode = tcp'",
    "events": "not needed: connections are limited by 'maxconn'",
    "entrypoints": "[frontend NAME] with 'listen'",
    "routers": "'routes' in [frontend NAME]",
    "services": "[backend NAME]",
    "middlewares": "'filters'",
    "resolvers": "'resolve_every' in [backend NAME]",
    "peers": "not needed: workers share their tables",
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

PLUGINS = {"balancer": _BALANCERS, "filter": _FILTERS, "probe": _PROBES}

OPTIONS = {
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
    "resolvers": "not needed: names are looked up, and again every 'resolve_every'",
    "default_server": "the listener or route that is written first",
    "http2": "not needed: it is offered where it is supported",
}

CONDITIONS = {
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
