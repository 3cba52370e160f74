"""CONTROL. The ``pgsql`` check: log in to PostgreSQL, and check its role and replication lag.

Found by :mod:`lbproxy.registry` under its name. Without ``user`` it works like ``pg_isready``: a
server that requests authentication is up, a server that is starting or stopping is not. It
requires PostgreSQL 10 or later.
"""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen

from lbproxy.config.model import option
from lbproxy.probes.base import Conversation, ProbeTarget, Unhealthy, WrongRole, hidden
from lbproxy.probes.credentials import (
    password_file_option,
    password_option,
    read_password,
)
from lbproxy.probes.pgwire import PgError, PgSession, PostgreSQLCredentials, pg_error
from lbproxy.probes.sql import (
    Expectation,
    SQLProbe,
    exclusive_option,
    expect_option,
    judge_answer,
    query_option,
    verify_options,
)

__all__ = ["PgsqlOptions", "PgsqlProbe"]

_ROLE = "pg_is_in_recovery(), current_setting('transaction_read_only')"
# pg_walfile_name raises in recovery; CASE keeps it from being called there.
_TIMELINE = (
    "(SELECT system_identifier FROM pg_control_system()), CASE WHEN NOT pg_is_in_recovery() "
    "THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
)
_NOT_TOLD = ("42501", "0A000", "42883")  # not allowed, not supported, no such function
# If the primary is idle, the last transaction is old although there is no lag, so the received and
# replayed positions are compared first. They are meaningful only while the replica receives data.
# A replica that has never replayed anything has no time: NULL.
_LAG = (
    "EXISTS (SELECT 1 FROM pg_stat_wal_receiver), "
    "CASE WHEN EXISTS (SELECT 1 FROM pg_stat_wal_receiver) "
    "AND pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN 0 "
    "ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END, "
    "greatest(0, pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()))"
)


@frozen
class PgsqlOptions:
    """Options of ``check = pgsql``."""

    user: str = option(
        "string",
        "",
        doc=(
            "user to log in as; empty: only check that the server accepts connections, like "
            "pg_isready"
        ),
    )
    password: str = password_option()
    password_file: str = password_file_option()
    database: str = option("string", "", doc="database to log in to; empty: the name of the user")
    role: str = option(
        "choice",
        "any",
        choices=("any", "primary", "replica"),
        doc="``primary``: not in recovery and not read only; ``replica``: in recovery",
    )
    max_lag: float = option(
        "duration",
        0.0,
        min=0.0,
        max=864000,
        doc="maximum lag of a replica, which is otherwise down; 0: no limit",
    )
    max_lag_bytes: int = option(
        "size",
        0,
        min=0,
        max=1 << 50,
        doc=(
            "maximum WAL that a replica has received but not replayed; with more it is down; 0: "
            "no limit"
        ),
    )
    replicating: bool = option(
        "flag", False, doc="take down a replica that receives no WAL from its primary"
    )
    exclusive: bool = exclusive_option()
    query: str = query_option()
    expect: str = expect_option()
    allow_cleartext: bool = option(
        "flag", False, doc="send the password unencrypted, without TLS, if the server asks for it"
    )
    test: Expectation | None = hidden()

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "test", verify_options(self))

    @property
    def about_lag(self) -> bool:
        """True if an option concerns replication."""
        return bool(self.max_lag or self.max_lag_bytes or self.replicating)


class PgsqlProbe(SQLProbe):
    """Healthy if the server accepts the login, has the required role and answers the query."""

    name: ClassVar[str] = "pgsql"
    Options: ClassVar[type[Any]] = PgsqlOptions

    clear = True  # TLS begins after SSLRequest

    async def talk(self, conversation: Conversation, target: ProbeTarget) -> str:
        """See :class:`lbproxy.probes.base.Probe`."""
        options: PgsqlOptions = self.options
        session = PgSession(conversation)
        if target.tls is not None:
            await session.start_tls(target.tls, target.timeout)
        if not options.user:
            return await _takes_connections(session)
        private = target.tls is not None or target.address.kind == "unix"
        await session.log_in(
            PostgreSQLCredentials(
                options.user,
                read_password(options.password, options.password_file),
                options.database,
                cleartext=private or options.allow_cleartext,
            )
        )
        note = "logged in"
        if options.role == "primary":
            system, timeline = await _primary(session)
            self._primaries.claim(target.server, system, timeline)
            note = f"primary, timeline {timeline}" if timeline else "primary"
        elif options.role == "replica" or options.about_lag:
            note = await self._replica(session)
        if options.query:
            row = await session.query(options.query)
            note = f"{note}, {judge_answer(row, options.test, options.expect)}"
        session.leave()
        return note

    async def _replica(self, session: PgSession) -> str:
        options: PgsqlOptions = self.options
        row = await session.query(f"SELECT {_ROLE}, {_LAG}")
        recovery, _, receiving, seconds, size = _columns(row, 5)
        if recovery != "t":
            if options.role == "replica":
                raise WrongRole("it is a primary")
            return "primary"
        if options.replicating and receiving != "t":
            raise Unhealthy("receives nothing from its primary")
        lag, backlog = _number(seconds), _number(size)
        if options.max_lag and (lag is None or lag > options.max_lag):
            behind = "an unknown time" if lag is None else f"{lag:.1f} s"
            raise Unhealthy(f"{behind} behind, at most {options.max_lag:g} s wanted")
        if options.max_lag_bytes and (backlog is None or backlog > options.max_lag_bytes):
            behind = "an unknown number of" if backlog is None else f"{backlog:.0f}"
            raise Unhealthy(f"{behind} bytes to replay, at most {options.max_lag_bytes} wanted")
        return "replica" if lag is None or not options.about_lag else f"replica, {lag:.1f} s behind"


async def _primary(session: PgSession) -> tuple[str, int]:
    """Return the system identifier and the timeline of a primary that accepts writes; ("", 0) if
    the server does not report them.
    """
    try:
        row = await session.query(f"SELECT {_ROLE}, {_TIMELINE}")
    except PgError as error:  # some hosted servers restrict these functions
        if error.code not in _NOT_TOLD:
            raise
        row = await session.query(f"SELECT {_ROLE}, '', '0'")
    recovery, read_only, system, timeline = _columns(row, 4)
    if recovery != "f":
        raise WrongRole("it is a replica")
    if read_only != "off":
        raise WrongRole("it is read only, though not a replica")
    try:
        return system or "", int(timeline or "", 16)
    except ValueError:
        raise Unhealthy("gave a timeline that is no number") from None


async def _takes_connections(session: PgSession) -> str:
    """Return whether the server accepts connections, as ``pg_isready`` does.

    Any error except "cannot connect now" means that it does.
    """
    kind, body = await session.greet("lbproxy")
    if kind == b"E":
        error = pg_error(body)
        if error.code[:2] not in ("28", "3D"):  # invalid authorization; no such database
            raise error
    elif kind != b"R":
        raise Unhealthy("does not request authentication")
    return "takes connections"


def _columns(row: list[str | None] | None, count: int) -> list[str | None]:
    if row is None or len(row) != count:
        raise Unhealthy("gave another number of columns than were asked for")
    return row


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise Unhealthy(f"gave {text[:20] if text else ''!r}, which is no number") from None
