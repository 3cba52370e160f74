"""CONTROL. The destinations of notices in ``[alerts]``.

:mod:`lbproxy.alerts.alerter` and ``lbproxy alert test`` use them.
"""

from __future__ import annotations

from typing import Any

from lbproxy.alerts.command import CommandTarget
from lbproxy.alerts.destination import Destination, NotifyError
from lbproxy.alerts.mail import MailTarget
from lbproxy.alerts.webhook import WebhookTarget
from lbproxy.config.model import AlertsSpec

__all__ = ["CommandTarget", "Destination", "MailTarget", "NotifyError", "WebhookTarget", "targets"]


def targets(spec: AlertsSpec, reactor: Any) -> list[Destination]:
    """Return all destinations in ``[alerts]``."""
    return [
        *(WebhookTarget(one, reactor) for one in spec.webhooks),
        *(MailTarget(one, reactor) for one in spec.mails),
        *(CommandTarget(one, reactor) for one in spec.commands),
    ]
