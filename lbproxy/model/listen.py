"""PURE. Listeners, the admin side, certificates and access logs."""

from __future__ import annotations

from attrs import frozen

from lbproxy.model.base import NOWHERE, Address, Condition, Network, Where, hidden, option

__all__ = ["AdminSpec", "CertificateSpec", "ListenSpec", "LogSpec"]


@frozen
class ListenSpec:
    """One line of ``listen``.

    ``tcp:PORT[:interface=IP]``, ``tls:...``, ``unix:PATH``, ``systemd:...``, ``HOST:PORT``, or any
    other Twisted server endpoint string; then options.
    """

    address: Address | None = option(
        "hidden", None, doc="parsed from the first word; None for systemd and plugin endpoints"
    )
    endpoint: str = option("endpoint", "", doc="address to listen on", positional=True)
    tls: bool = option("hidden", False, doc="the endpoint began with tls:")
    certificates: tuple[str, ...] = option(
        "list:string",
        (),
        doc="names of [certificate] sections, PEM files or folders, separated by commas",
        example="certs/",
    )
    min_version: str = option(
        "choice", "1.2", choices=("1.2", "1.3"), doc="lowest accepted TLS version"
    )
    ciphers: str = option(
        "string", "", doc="OpenSSL cipher list for TLS 1.2; empty: a strong default"
    )
    alpn: tuple[str, ...] = option(
        "list:string",
        (),
        doc=(
            "ALPN protocols in order of preference; empty: http/1.1 in http mode, none in tcp mode"
        ),
    )
    groups: tuple[str, ...] = option(
        "list:string",
        (),
        doc="groups for key exchange by their OpenSSL names, best first; empty: OpenSSL's choice",
        example="X25519,P-256",
    )
    accept_proxy: tuple[Network, ...] = option(
        "list:network",
        (),
        doc=(
            "peers that must send a PROXY protocol header (v1 or v2); other peers are served "
            "without one"
        ),
        example="10.0.0.0/8",
    )
    backlog: int = option(
        "int",
        1024,
        min=1,
        max=65535,
        doc="maximum number of connections that the kernel queues before lbproxy accepts them",
    )
    mode: int = option("octal", 0o660, doc="permissions of a Unix socket")
    where: Where = hidden(NOWHERE)


@frozen
class LogSpec:
    """``access_log = TARGET json|common|combined|"custom format" options [if CONDITIONS]``.

    ``path`` is "stdout", ``syslog:TRANSPORT:ADDRESS`` (see
    :func:`lbproxy.config.lines.syslog_address`), a file, or "" for no log (``off``).
    """

    path: str = option("hidden", "", doc="destination of the lines")
    format: str = option("hidden", "json", doc="format of the lines")
    sample: float = option(
        "percent",
        1.0,
        min=0.0,
        max=1.0,
        doc="share of the requests to log; errors are always logged",
    )
    min_time: float = option(
        "duration",
        0.0,
        min=0.0,
        max=86400,
        doc="minimum duration of logged requests; errors are always logged",
    )
    skip_empty: bool = option(
        "bool",
        False,
        doc=(
            "do not log TCP connections without any data, such as those of health checks, unless "
            "they failed"
        ),
    )
    request_ids: bool = option(
        "bool",
        False,
        doc="give every record a unique ``request_id``, not only those where a filter uses it",
    )
    rotate_size: int = option(
        "size",
        0,
        min=0,
        max=1 << 50,
        doc="start a new file when the file reaches this size; 0: never",
        example="100m",
    )
    rotate_every: float = option(
        "duration",
        0.0,
        min=0.0,
        max=366 * 86400,
        doc="start a new file after this time (1d: at midnight UTC); 0: never",
    )
    keep: int = option("int", 10, min=0, max=10_000, doc="number of old files to keep")
    facility: str = option(
        "choice",
        "local0",
        choices=(
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
            "authpriv", "ftp",
            "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        ),
        doc="syslog facility",
    )  # fmt: skip
    tag: str = option("name", "lbproxy", doc="syslog application name")
    conditions: tuple[Condition, ...] = option(
        "hidden", (), doc="after ``if``: conditions for logged requests", after_if=True
    )
    where: Where = hidden(NOWHERE)


@frozen
class AdminSpec:
    """One line of ``admin``.

    ``tcp:PORT:interface=IP``, ``tls:PORT...``, ``unix:PATH`` or ``IP:PORT``; then options.
    """

    address: Address | None = option("hidden", None, doc="parsed from the first word")
    endpoint: str = option("endpoint", "", doc="address to listen on", positional=True)
    tls: bool = option("hidden", False, doc="the endpoint began with tls:")
    role: str = option(
        "choice",
        "write",
        choices=("read", "write"),
        doc="highest role of clients of this address: read, or also change",
    )
    mode: int = option(
        "octal", 0o600, doc="permissions of a Unix socket, which decide who has access"
    )
    certificates: tuple[str, ...] = option(
        "list:string",
        (),
        doc=(
            "for ``tls:``, names of [certificate] sections, PEM files or folders, separated by "
            "commas"
        ),
        example="certs/admin.pem",
    )
    client_ca: str = option(
        "path",
        "",
        doc=(
            "for ``tls:``, PEM file of certificate authorities; only clients with a certificate "
            "from one of them are admitted, and they need no token"
        ),
    )
    backlog: int = option(
        "hidden",
        64,
        doc="maximum number of connections that the kernel queues before lbproxy accepts them",
    )
    where: Where = hidden(NOWHERE)


@frozen
class CertificateSpec:
    """``[certificate NAME]``: one key pair."""

    name: str = option("hidden", doc="section name")
    certificate: str = option(
        "path", doc="PEM file with the certificate, followed by its chain", example="certs/site.pem"
    )
    key: str = option(
        "path", "", doc="PEM file with the private key; empty: in the certificate file"
    )
    hosts: tuple[str, ...] = option(
        "list:string",
        (),
        doc=("server names that the certificate is used for; empty: the names in the certificate"),
    )
    where: Where = hidden(NOWHERE)
