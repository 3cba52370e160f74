"""PURE. The farewells by the names that ``rebalance`` knows; a new one is a module and a line here."""

from __future__ import annotations

from lbproxy.sessionclose.amqp import AMQPFarewell
from lbproxy.sessionclose.base import Farewell
from lbproxy.sessionclose.mqtt import MQTTFarewell
from lbproxy.sessionclose.postgresql import PostgreSQLFarewell
from lbproxy.sessionclose.tcp import TCPFarewell
from lbproxy.sessionclose.websocket import WebSocketFarewell

__all__ = ["FAREWELLS"]

FAREWELLS: dict[str, type[Farewell]] = {
    cls.name: cls
    for cls in (TCPFarewell, WebSocketFarewell, MQTTFarewell, AMQPFarewell, PostgreSQLFarewell)
}
