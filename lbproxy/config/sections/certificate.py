"""PURE. ``[certificate NAME]``."""

from __future__ import annotations

from lbproxy.config.draft import Draft
from lbproxy.config.section import Judge, Section
from lbproxy.model import CertificateSpec

__all__ = ["CERTIFICATE"]


def _check(draft: Draft, judge: Judge) -> None:
    if "certificate" not in draft.lines:
        message = "the key is missing: the PEM file of the certificate"
        judge.wrong(draft, draft.where, "certificate", message)
    elif draft.get("certificate", None) == "":
        judge.wrong(draft, draft.line("certificate"), "certificate", "the path is empty")
    for key in ("certificate", "key"):
        judge.file(draft, key, draft.line(key), draft.get(key, ""))


CERTIFICATE = Section(
    "certificate",
    CertificateSpec,
    doc="A certificate with its private key.",
    field="certificates",
    plural="certificates",
    check=_check,
)
