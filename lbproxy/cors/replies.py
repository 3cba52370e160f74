"""PURE. The CORS proxy's own responses as small JSON documents."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["error_body"]


def error_body(status: int, message: str, request_id: str = "") -> bytes:
    """Return the JSON body of an error: ``{"error": {"status", "message", "requestId"}}``."""
    error: dict[str, Any] = {"status": status, "message": message, "requestId": request_id}
    return json.dumps({"error": error}).encode("ascii") + b"\n"
