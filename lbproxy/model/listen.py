"""PURE. Where connections come from and lines go to: listeners, the admin side, certificates, logs."""

from __future__ import annotations

from attrs import frozen

from lbproxy.model.base import NOWHERE, Address, Network, Where, hidden, option

__all__ = ["AdminSpec", "CertificateSpec", "ListenSpec", "LogSpec"]


@frozen
class ListenSpec:
    """One line of ``listen``: ``tcp:PORT[:interface=IP]``, ``tls:...``, ``unix:PATH``, ``systemd:...``,
    ``HOST:PORT``, or any other Twisted server endpoint string; then options."""

    address: Address | None = option(
        "hidden", None, doc="parsed from the first word; None for systemd and plugin endpoints"
    )
    endpoint: str = option("endpoint", "", doc="the address as written", positional=True)
    tls: bool = option("hidden", False, doc="the endpoint began with tls:")
    certificates: tuple[str, ...] = option(
        "list:string",
        (),
        doc="names of [certificate] sections, PEM files or folders; comma separated",
        example="certs/",
    )
    min_version: str = option(
        "choice", "1.2", choices=("1.2", "1.3"), doc="lowest TLS version accepted"
    )
    ciphers: str = option(
        "string", "", doc="OpenSSL cipher list for TLS 1.2; empty: a strong default"
    )
    alpn: tuple[str, ...] = option(
        "list:string",
        (),
        doc="protocols offered, best first; empty: http/1.1 in http mode, none in tcp mode",
    )
    groups: tuple[str, ...] = option(
        "list:string",
        (),
        doc="groups for key exchange in OpenSSL's words, best first; empty: OpenSSL's choice",
        example="X25519,P-256",
    )
    accept_proxy: tuple[Network, ...] = option(
        "list:network",
        (),
        doc="expect a PROXY protocol header (v1 or v2) from these peers; others are served as they are",
        example="10.0.0.0/8",
    )
    backlog: int = option(
        "int", 1024, min=1, max=65535, doc="connections the kernel may hold before we accept them"
    )
    mode: int = option("octal", 0o660, doc="permissions of a unix socket")
    where: Where = hidden(NOWHERE)


@frozen
class LogSpec:
    """``access_log = TARGET  json|common|combined|"custom format"  options``.

    ``path`` is "stdout", ``syslog:TRANSPORT:ADDRESS`` (see :func:`lbproxy.config.lines.syslog_address`), a file,
    or "" for no log (``off``).
    """

    path: str = option("hidden", "", doc="where lines go")
    format: str = option("hidden", "json", doc="what is in a line")
    sample: float = option(
        "percent",
        1.0,
        min=0.0,
        max=1.0,
        doc="part of the requests that is logged; errors always are",
    )
    min_time: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc="log only what took at least this long; errors always are",
    )
    rotate_size: int = option(
        "size",
        0,
        min=0,
        max=1 << 50,
        doc="begin a new file when the file is this large; 0: never",
        example="100m",
    )
    rotate_every: float = option(
        "duration",
        0.0,
        min=0.0,
        max=366 * 86400,
        doc="begin a new file when this time is over (1d: at midnight UTC); 0: never",
    )
    keep: int = option("int", 10, min=0, max=10_000, doc="how many old files are kept")
    facility: str = option(
        "choice",
        "local0",
        choices=(
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
            "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        ),
        doc="syslog facility",
    )  # fmt: skip
    tag: str = option("name", "lbproxy", doc="syslog application name")
    where: Where = hidden(NOWHERE)


@frozen
class AdminSpec:
    """One line of ``admin``: ``tcp:PORT:interface=IP``, ``tls:PORT...``, ``unix:PATH`` or ``IP:PORT``; then options."""

    address: Address | None = option("hidden", None, doc="parsed from the first word")
    endpoint: str = option("endpoint", "", doc="the address as written", positional=True)
    tls: bool = option("hidden", False, doc="the endpoint began with tls:")
    role: str = option(
        "choice",
        "write",
        choices=("read", "write"),
        doc="the most anybody may do who comes this way: look, or change things too",
    )
    mode: int = option(
        "octal", 0o600, doc="permissions of a unix socket, which are all it asks for"
    )
    certificates: tuple[str, ...] = option(
        "list:string",
        (),
        doc="for ``tls:``, names of [certificate] sections, PEM files or folders; comma separated",
        example="certs/admin.pem",
    )
    client_ca: str = option(
        "path",
        "",
        doc="for ``tls:``, PEM file of authorities; who has a certificate of theirs needs no token, and nobody "
        "else is let in",
    )
    backlog: int = option("hidden", 64, doc="connections the kernel may hold before we accept them")
    where: Where = hidden(NOWHERE)


@frozen
class CertificateSpec:
    """``[certificate NAME]``: one key pair."""

    name: str = option("hidden", doc="section name")
    certificate: str = option(
        "path", doc="PEM file: certificate, then the chain", example="certs/site.pem"
    )
    key: str = option("path", "", doc="PEM file of the private key; empty: in the certificate file")
    hosts: tuple[str, ...] = option(
        "list:string", (), doc="server names it is used for; empty: the names in the certificate"
    )
    where: Where = hidden(NOWHERE)
