"""DATA. The parameters and the result of a TLS handshake.

:mod:`lbproxy.tls.contexts` creates the parameters, and the networks (:mod:`lbproxy.net.endpoints`)
use them.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

__all__ = ["TLSInfo", "TLSParameters"]


@frozen
class TLSInfo:
    """The result of a handshake.

    ``version`` such as "TLSv1.3", ``cipher``, ``alpn`` ("" if none), ``sni`` (lower case).
    """

    version: str = ""
    cipher: str = ""
    alpn: str = ""
    sni: str = ""


@frozen
class TLSParameters:
    """The parameters of TLS on a connection.

    ``creator`` provides IOpenSSLServerConnectionCreator if ``server_side`` is true, else
    IOpenSSLClientConnectionCreator. It may have two more methods:

    ``connection_for_socket(socket) -> OpenSSL.SSL.Connection``
        Return a connection on that non-blocking socket, in accept or connect state, with SNI set
        and verification built into its context (verify callback), without read-ahead. TLS then
        runs on the socket itself if the network supports that. Without this method, and for bytes
        already read, TLS runs through a memory BIO.

    ``problem(connection) -> str``
        Return why its verification failed, "" if it did not.
    """

    creator: Any
    server_side: bool
