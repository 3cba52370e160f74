"""A small SMTP server with STARTTLS and logins (RFC 5321, 3207, 4954), in a thread of its own."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from attrs import define, field

__all__ = ["Mail", "SMTPServer"]

LOGIN = base64.b64encode(b"\0lb\0s3cret word").decode()


@define
class Mail:
    """One session: what the client said before and after STARTTLS, and the mail."""

    clear: list[str] = field(factory=list)
    secret: list[str] = field(factory=list)
    secure: bool = False
    user: str = ""
    text: str = ""


class SMTPServer:
    """Take mails of the user ``lb`` with the password ``s3cret word``, over TLS only.

    ``sessions`` has every connection.  Every session is answered until the client leaves.
    """

    def __init__(self, certificate: str) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.sessions: list[Mail] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, after the session that runs."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(60)
            self.sessions.append(Mail())
            with suppress(OSError):
                self._serve(sock, self.sessions[-1])
            sock.close()

    def _serve(self, sock: Any, mail: Mail) -> None:
        sock.sendall(b"220 mail.test ESMTP\r\n")
        stream = sock.makefile("rb")
        while line := stream.readline():
            words = line.decode().rstrip("\r\n")
            (mail.secret if mail.secure else mail.clear).append(words)
            verb = words.split(" ")[0].upper()
            if verb == "STARTTLS":
                sock.sendall(b"220 go on\r\n")
                sock = self._context.wrap_socket(sock, server_side=True)
                stream = sock.makefile("rb")
                mail.secure = True
                continue
            if verb == "DATA" and mail.user:
                sock.sendall(b"354 go on\r\n")
                while (part := stream.readline()) not in (b".\r\n", b""):
                    mail.text += part.decode().removeprefix(".")
            sock.sendall(self._answer(verb, words, mail).encode() + b"\r\n")
            if verb == "QUIT":
                return

    def _answer(self, verb: str, words: str, mail: Mail) -> str:
        if verb == "EHLO":
            return "250-mail.test\r\n250 " + ("AUTH PLAIN" if mail.secure else "STARTTLS")
        if verb == "AUTH":
            if not mail.secure or words.split()[1:] != ["PLAIN", LOGIN]:
                return "535 5.7.8 authentication failed"
            mail.user = "lb"
            return "235 welcome"
        if verb in ("MAIL", "RCPT", "DATA") and not mail.user:
            return "530 5.7.0 authentication required"
        return "221 bye" if verb == "QUIT" else "250 ok"
