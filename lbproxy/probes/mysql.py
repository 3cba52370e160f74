"""CONTROL. The ``mysql`` check: log in to MySQL or MariaDB, and check its role and replication
lag.

Found by :mod:`lbproxy.registry` under its name. Without ``user`` it tries to log in with an empty
user name: a server that refuses the login with a MySQL error is up. The server counts connections
that end in the middle of the handshake (``max_connect_errors``) and eventually blocks lbproxy's
address. A refused login does not count.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.probes.base import Conversation, ProbeTarget, Unhealthy, WrongRole, hidden
from lbproxy.probes.credentials import (
    password_file_option,
    password_option,
    read_password,
)
from lbproxy.probes.mysqlwire import (
    ACCESS_DENIED,
    Greeting,
    MySQLCredentials,
    MySQLError,
    MySQLSession,
    Row,
)
from lbproxy.probes.notes import shorten
from lbproxy.probes.sql import (
    Expectation,
    SQLProbe,
    exclusive_option,
    expect_option,
    judge_answer,
    query_option,
    verify_options,
)

__all__ = ["MysqlOptions", "MysqlProbe"]

_ROLE = "SELECT @@global.read_only AS read_only, @@global.innodb_read_only AS innodb_read_only"
_GALERA = (
    "SHOW GLOBAL STATUS WHERE Variable_name IN "
    "('wsrep_ready', 'wsrep_local_state', 'wsrep_local_state_comment', 'wsrep_cluster_status')"
)
_OFF = ("0", "OFF")
_SYNCED = "4"


@frozen
class MysqlOptions:
    """Options of ``check = mysql``."""

    user: str = option(
        "string",
        "",
        doc=(
            "user to log in as; empty: only check that the server speaks MySQL and accepts "
            "connections"
        ),
    )
    password: str = password_option()
    password_file: str = password_file_option()
    database: str = option("string", "", doc="database to log in to; empty: none")
    role: str = option(
        "choice",
        "any",
        choices=("any", "primary", "replica"),
        doc="``primary``: read_only is off; ``replica``: it is on",
    )
    max_lag: float = option(
        "duration",
        0.0,
        min=0.0,
        max=864000,
        doc="maximum lag of a replica; with more, or without replication, it is down; 0: no limit",
    )
    replicating: bool = option(
        "flag", False, doc="take down a replica whose two replication threads do not run"
    )
    galera: bool = option(
        "flag",
        False,
        doc="take down a Galera node that is not Synced, ready and in the primary component",
    )
    exclusive: bool = exclusive_option()
    query: str = query_option()
    expect: str = expect_option()
    get_server_public_key: bool = option(
        "flag",
        False,
        doc=(
            "without TLS, encrypt the password with the RSA key that the server sends "
            "(caching_sha2_password)"
        ),
    )
    test: Expectation | None = hidden()

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "test", verify_options(self, galera=self.galera))

    @property
    def about_lag(self) -> bool:
        """True if an option concerns replication."""
        return bool(self.max_lag or self.replicating)


class MysqlProbe(SQLProbe):
    """Healthy if the server accepts the login, has the required role and answers the query."""

    name: ClassVar[str] = "mysql"
    Options: ClassVar[type[Any]] = MysqlOptions

    clear = True  # TLS begins after the greeting

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        options: MysqlOptions = self.options
        session = MySQLSession(conversation)
        greeting = await session.greeting()
        if not options.user:
            return await _speaks(session, greeting, target)
        who = MySQLCredentials(
            options.user,
            read_password(options.password, options.password_file),
            options.database,
            private=target.tls is not None or target.address.kind == "unix",
            public_key=options.get_server_public_key,
        )
        await session.log_in(greeting, who, target.tls, target.timeout)
        notes = []
        if options.galera:
            notes.append(_galera(await session.query(_GALERA)))
        if options.role != "any":
            notes.append(self._role(await session.query(_ROLE), target))
        if options.about_lag:
            notes.append(self._lag(await session.query(_status_query(greeting))))
        if options.query:
            notes.append(self._answer(await session.query(options.query)))
        session.leave()
        return ", ".join(notes) or "logged in"

    def _role(self, rows: list[Row], target: ProbeTarget) -> str:
        role: str = self.options.role
        if len(rows) != 1:
            raise Unhealthy("does not say whether it is read only")
        writable = all((value or "").upper() in _OFF for value in rows[0].values())
        if role == "replica" and writable:
            raise WrongRole("it is not read only")
        if role == "primary":
            if not writable:
                raise WrongRole("it is read only")
            self._primaries.claim(target.server)
        return role

    def _lag(self, channels: list[Row]) -> str:
        """Judge the answer to SHOW REPLICA STATUS: one row for each primary of the replica."""
        options: MysqlOptions = self.options
        if not channels:
            raise Unhealthy("is not a replica of anybody")
        lags: list[float] = []
        for channel in channels:
            row = {name.lower(): value for name, value in channel.items()}
            for thread in ("io", "sql"):
                running = row.get(f"replica_{thread}_running", row.get(f"slave_{thread}_running"))
                if running != "Yes":
                    why = shorten(row.get(f"last_{thread}_error") or "", 100)
                    words = f"replication {thread.upper()} thread: {shorten(running or 'No', 20)}"
                    raise Unhealthy(f"{words}: {why}" if why else words)
            behind = row.get("seconds_behind_source", row.get("seconds_behind_master"))
            if behind is not None and re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,9})?", behind):
                lags.append(float(behind))
            elif options.max_lag:
                raise Unhealthy("does not know how far behind it is")
        lag = max(lags, default=0.0)
        if options.max_lag and lag > options.max_lag:
            raise Unhealthy(f"{lag:g} s behind, at most {options.max_lag:g} s wanted")
        return f"{lag:g} s behind"

    def _answer(self, rows: list[Row]) -> str:
        options: MysqlOptions = self.options
        first = list(rows[0].values()) if rows else None
        return judge_answer(first, options.test, options.expect)


async def _speaks(session: MySQLSession, greeting: Greeting, target: ProbeTarget) -> str:
    """Try to log in with an empty user name, and close the connection cleanly."""
    try:
        await session.log_in(greeting, MySQLCredentials("", ""), target.tls, target.timeout)
    except MySQLError as error:
        if error.code not in ACCESS_DENIED:
            raise
    else:
        session.leave()
    return f"version {greeting.version}"


def _galera(rows: list[Row]) -> str:
    found = {}
    for row in rows:
        values = [value or "" for value in row.values()]
        if len(values) == 2:
            found[values[0].lower()] = values[1]
    state = shorten(found.get("wsrep_local_state_comment", "not in a cluster"), 40)
    if found.get("wsrep_local_state") != _SYNCED:
        raise Unhealthy(f"Galera state: {state}, wanted Synced")
    if found.get("wsrep_ready", "").upper() != "ON":
        raise Unhealthy("Galera: wsrep_ready is off")
    if found.get("wsrep_cluster_status", "Primary") != "Primary":
        raise Unhealthy("Galera: not in the primary component")
    return "Synced"


def _status_query(greeting: Greeting) -> str:
    """Return the statement for the replication status.

    MySQL 8.0.22 introduced the new statement, and 8.4 removed the old one. MariaDB has its own.
    """
    if greeting.mariadb:
        return "SHOW ALL SLAVES STATUS"
    numbers = re.match(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", greeting.version)
    version = tuple(map(int, numbers.groups())) if numbers else ()
    return "SHOW REPLICA STATUS" if version >= (8, 0, 22) else "SHOW SLAVE STATUS"
