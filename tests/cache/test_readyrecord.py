"""The form of records on disk, which a later version must not read in another way."""

from __future__ import annotations

from hashlib import blake2b

from lbproxy.cache.codec import StoredRecord, digest_of, dump_record, load_record
from lbproxy.cache.control import NONE
from lbproxy.cache.ready import HitRules
from lbproxy.cache.readyrecord import MAGIC, load_ready
from lbproxy.cache.stored import Stored
from lbproxy.http.known import NUMBERS

RULES = HitRules(True, True, False, None)
KEY = (b"app", b"http", b"h", b"/a")
FORM = "737679d7731a04d5"
"""Digest of a record with all known fields. If it differs, raise the version in
:data:`~lbproxy.cache.readyrecord.MAGIC` and that of the journal, then change it here.
"""


def record() -> bytes:
    """Return a record with all fields that have a number, which is part of the prepared head."""
    headers = [(name, b"%d" % number) for number, name in enumerate(sorted(NUMBERS))]
    stored = Stored(
        b"http://h/a", 200, b"OK", headers, NONE, 1.0, 2.0, 60.0, True, "max-age", 4,
        ((b"accept", b"a"), (b"accept-language", None)), public=True,
    )  # fmt: skip
    return dump_record(StoredRecord(KEY, stored, b"body", 4, digest_of(b"body")))


def test_the_form_of_records_has_a_version() -> None:
    assert MAGIC == b"LBOBJ\x00\x04\n"
    assert blake2b(record(), digest_size=8).hexdigest() == FORM


def test_both_heads_of_a_record_are_the_same() -> None:
    data = record()
    found, whole = load_ready(data, KEY), load_record(data)
    assert found is not None
    ready, stored = found.ready, whole.stored
    assert ready.selected == stored.selected
    assert (ready.status, ready.reason, ready.public) == (200, b"OK", True)
    assert (ready.lifetime, ready.received, found.asked) == (60.0, 2.0, 1.0)
    assert ready.head(0.0, 4, RULES).pairs()[:-1] == [
        pair for pair in stored.headers if pair[0].lower() != b"age"
    ]
    assert found.body(data) == whole.body == b"body"
    assert load_ready(data, (*KEY, b"")) is None
