"""PURE. The session closes by the names in ``rebalance``. A new one is a module and a line here."""

from __future__ import annotations

from lbproxy.sessionclose.amqp import AMQPClose
from lbproxy.sessionclose.base import SessionClose
from lbproxy.sessionclose.mqtt import MQTTClose
from lbproxy.sessionclose.postgresql import PostgreSQLClose
from lbproxy.sessionclose.tcp import TCPClose
from lbproxy.sessionclose.websocket import WebSocketClose

__all__ = ["SESSION_CLOSES"]

SESSION_CLOSES: dict[str, type[SessionClose]] = {
    cls.name: cls for cls in (TCPClose, WebSocketClose, MQTTClose, AMQPClose, PostgreSQLClose)
}
