"""PURE. Every class of line.

To add one, create a :class:`~lbproxy.config.line.Line` in a file here, and list it in
:data:`LINES`.
"""

from __future__ import annotations

from lbproxy.config.line import Line
from lbproxy.config.lines.alerts import COMMAND, MAIL, RULE, WEBHOOK
from lbproxy.config.lines.backend import MIRROR, REBALANCE
from lbproxy.config.lines.bans import BAN_ACTION, BAN_AFTER, BAN_ON, BAN_TIME
from lbproxy.config.lines.cache import CONDITIONS, COOKIES, DISK, KEY, QUERY, TTL_LINE
from lbproxy.config.lines.discovery import TEMPLATE
from lbproxy.config.lines.health import AGENT, CHECK, PASSIVE
from lbproxy.config.lines.limits import LIMIT_ACTION, LIMIT_PREFIX, LIMIT_RATE, LIMIT_USE, TRACK_USE
from lbproxy.config.lines.listen import ADMIN, LISTEN, read_admin
from lbproxy.config.lines.log import LOG, syslog_address
from lbproxy.config.lines.plugin import BALANCER, FILTER, STICKY
from lbproxy.config.lines.route import ROUTE
from lbproxy.config.lines.server import SERVER, dump_server
from lbproxy.config.lines.shedding import SHED
from lbproxy.config.lines.waf import EXCLUDE, PREDICATE

__all__ = ["LINES", "dump_server", "read_admin", "syslog_address"]

LINES: dict[str, Line] = {
    line.name: line
    for line in (
        SERVER, TEMPLATE, LISTEN, ADMIN, CHECK, PASSIVE, MIRROR, REBALANCE, LOG, WEBHOOK, MAIL,
        COMMAND, RULE, AGENT, ROUTE,
        BALANCER, STICKY, FILTER, TTL_LINE, KEY, QUERY, COOKIES, DISK, CONDITIONS,
        LIMIT_RATE, LIMIT_ACTION, LIMIT_PREFIX, LIMIT_USE, TRACK_USE,
        BAN_AFTER, BAN_ON, BAN_TIME, BAN_ACTION,
        EXCLUDE, PREDICATE, SHED,
    )
}  # fmt: skip
"""Lines by the name after ``line:`` or ``lines:`` in a field's kind, in the order of the reference.
"""
