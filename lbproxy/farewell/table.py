"""PURE. The farewells by the names that ``rebalance`` knows; a new one is a module and a line here."""

from __future__ import annotations

from lbproxy.farewell.amqp import AMQPFarewell
from lbproxy.farewell.base import Farewell
from lbproxy.farewell.mqtt import MQTTFarewell
from lbproxy.farewell.postgresql import PostgreSQLFarewell
from lbproxy.farewell.tcp import TCPFarewell
from lbproxy.farewell.websocket import WebSocketFarewell

__all__ = ["FAREWELLS"]

FAREWELLS: dict[str, type[Farewell]] = {
    cls.name: cls
    for cls in (TCPFarewell, WebSocketFarewell, MQTTFarewell, AMQPFarewell, PostgreSQLFarewell)
}
