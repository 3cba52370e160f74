"""Services of features that raise when they start or stop: a reload goes on."""

from __future__ import annotations

import pytest
from twisted.application.service import Service

from tests.extending.conftest import Install
from tests.extending.seams import FEATURE, TEXT, every, exception, start


class BadService(Service):
    """Does not start, or does not stop."""

    def __init__(self, method: str, error: str) -> None:
        def fail() -> None:
            raise exception(error)

        setattr(self, method, fail)


@every
@pytest.mark.parametrize("method", ["startService", "stopService"])
def test_services(install: Install, method: str, error: str, failures: list[str]) -> None:
    install("bad", FEATURE, "Bad")
    lb = start()
    text = TEXT.format(web="", app="bad = none.none\nqueue = {queue}")
    from bad import Bad as Installed  # type: ignore[import-not-found]

    Installed.services = lambda self: (BadService(method, error),)
    for queue in (7, 8):
        assert lb.service.reload(text.replace("{queue}", str(queue))).ok
        assert lb.backend("app").spec.queue == queue
    assert set(failures) == {error}
    assert lb.get("http://h/").status == 200
    Installed.services = lambda self: ()
    assert lb.service.reload(TEXT.format(web="", app="")).ok
