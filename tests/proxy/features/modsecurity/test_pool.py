"""The processes of a firewall: questions, deadlines, ends, changed files."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from lbproxy.net.timers import TimerWheel
from lbproxy.proxy.features.waf.modsecurity import pool as module
from lbproxy.proxy.features.waf.modsecurity.loadout import RuleSource
from lbproxy.proxy.features.waf.modsecurity.messages import Question, RuleAnswer
from lbproxy.proxy.features.waf.modsecurity.pool import JudgePool
from lbproxy.proxy.features.waf.spec import WafSpec
from tests.support.modsecurity import RULES, library, small_rules
from tests.support.reactor import eventually, run

Answers = list[tuple[RuleAnswer | None, str]]
ATTACK = b"/?q=an+attack"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    library().close()
    monkeypatch.setattr(module, "LOOK_S", 0.1)
    monkeypatch.setattr(module, "HUNG_S", 0.1)


def question(target: bytes = b"/", body: bytes = b"") -> Question:
    """A question about a request."""
    headers = ((b"Host", b"h"), (b"Content-Type", b"text/plain"))
    where = ("192.0.2.1", 1)
    return Question("id", where, where, b"GET", target, "1.1", headers, body=body)


def played(
    folder: Path, play: Callable[[Any, JudgePool], Coroutine[Any, Any, None]], **keys: Any
) -> JudgePool:
    """Run ``play`` with a pool that has one user."""
    spec = WafSpec("w", rules=str(small_rules(folder)), **{"deadline": 5.0, **keys})
    pools = []

    async def scenario(reactor: Any) -> None:
        source = RuleSource(spec)
        made = JudgePool(source, source.loadout(), reactor, TimerWheel(reactor, 0.02))
        pools.append(made)
        made.enter("test")
        try:
            await play(reactor, made)
        finally:
            pids = made.pids
            made.leave("test")
            await eventually(reactor, lambda: not any(map(exists, pids)))

    run(scenario)
    return pools[0]


def exists(pid: int) -> bool:
    """Whether a process exists; a zombie does."""
    return Path(f"/proc/{pid}").exists()


def kill(pid: int) -> None:
    """Kill a process, and wait until it is a zombie."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def answer(reactor: Any, pool: JudgePool, asked: Question) -> tuple[RuleAnswer | None, str]:
    """Ask and wait."""
    found: Answers = []
    assert pool.ask(asked, lambda *one: found.append(one)) is not None
    await eventually(reactor, lambda: found)
    return found[0]


async def status(reactor: Any, pool: JudgePool, target: bytes) -> int:
    """The status of the verdict about a target."""
    found, why = await answer(reactor, pool, question(target))
    assert found is not None, why
    return found.status


def test_questions_are_answered(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        found: Answers = []
        for target in (b"/", ATTACK, b"/?q=odd") * 5:
            pool.ask(question(target), lambda *one: found.append(one))
        await eventually(reactor, lambda: len(found) == 15)
        answers = [one for one, _ in found if one is not None]
        assert sorted(one.status for one in answers) == [0] * 10 + [403] * 5
        assert sorted(one.score for one in answers) == [0] * 5 + [3] * 5 + [5] * 5

    played(tmp_path, play, processes=2)


def test_a_long_body_reaches_the_process(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        found, _ = await answer(reactor, pool, question(body=b"x" * 1_000_000))
        assert found is not None and found.status == 0

    played(tmp_path, play, body_limit=1024 * 1024)


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        found: Answers = []
        asks = [pool.ask(question(), lambda *one: found.append(one)) for _ in range(5)]
        assert [ask is not None for ask in asks] == [True, True, True, False, False]
        assert pool.waiting == 3
        await eventually(reactor, lambda: len(found) == 3)

    played(tmp_path, play, queue=3)


def test_a_question_is_over_at_its_deadline_and_the_process_is_replaced(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, b"/") == 0
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        found, why = await answer(reactor, pool, question())
        assert (found, why) == (None, "no verdict within 0.3 s")
        await eventually(reactor, lambda: pool.pids not in ([pid], []) and pool.ready)
        assert not exists(pid)
        assert await status(reactor, pool, ATTACK) == 403

    played(tmp_path, play, deadline=0.3)


def test_a_process_that_dies_is_replaced(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, b"/") == 0
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        found: Answers = []
        pool.ask(question(), lambda *one: found.append(one))
        os.kill(pid, signal.SIGKILL)
        await eventually(reactor, lambda: found)
        assert found == [(None, "the process that judged it has ended")]
        assert await status(reactor, pool, ATTACK) == 403
        assert pool.restarts == 1

    played(tmp_path, play)


def test_a_question_to_a_process_that_has_just_died(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, b"/") == 0
        (pid,) = pool.pids
        kill(pid)
        found: Answers = []
        assert pool.ask(question(), lambda *one: found.append(one)) is not None
        assert found == []
        await eventually(reactor, lambda: found)
        assert found == [(None, "the process that judged it has ended")]
        assert await status(reactor, pool, ATTACK) == 403

    played(tmp_path, play)


def test_a_cancelled_question_gets_no_answer(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        found: Answers = []
        for _ in range(3):
            ask = pool.ask(question(), lambda *one: found.append(one))
            assert ask is not None
            ask.cancel()
        assert await status(reactor, pool, b"/") == 0
        assert found == []

    played(tmp_path, play)


def test_questions_whose_request_has_ended_take_no_place(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        for _ in range(9):
            ask = pool.ask(question(), lambda *one: None)
            assert ask is not None
            ask.cancel()
        assert pool.waiting == 0
        assert await status(reactor, pool, ATTACK) == 403

    played(tmp_path, play, queue=3)


def test_a_process_that_hangs_while_it_loads_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOAD_S", 0.1)

    async def play(reactor: Any, pool: JudgePool) -> None:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(module, "LOAD_S", 30)
        await eventually(reactor, lambda: pid not in pool.pids and pool.ready)
        assert await status(reactor, pool, ATTACK) == 403

    played(tmp_path, play)


def test_changed_files_that_take_too_long_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, ATTACK) == 403
        monkeypatch.setattr(module, "LOAD_S", 0.04)
        small_rules(tmp_path, RULES + "# new")
        await eventually(reactor, lambda: pool.refused)
        assert await status(reactor, pool, ATTACK) == 403

    played(tmp_path, play)


def test_no_module_comes_from_the_folder_where_lbproxy_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)

    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, ATTACK) == 403

    played(tmp_path, play)


def test_changed_files_are_loaded(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, b"/?q=other") == 0
        before = pool.pids
        small_rules(tmp_path, RULES.replace("contains attack", "contains other"))
        await eventually(reactor, lambda: not set(pool.pids) & set(before) and pool.ready == 2)
        assert await status(reactor, pool, b"/?q=other") == 403
        assert await status(reactor, pool, ATTACK) == 0

    played(tmp_path, play, processes=2)


def test_changed_files_with_mistakes_are_not_used(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, ATTACK) == 403
        before = pool.pids
        small_rules(tmp_path, "SecNonsense")
        await eventually(reactor, lambda: pool.refused)
        assert pool.pids == before
        assert await status(reactor, pool, ATTACK) == 403

    played(tmp_path, play)


def test_a_pool_without_users_asks_nobody(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        found: Answers = []
        assert pool.ask(question(), lambda *one: found.append(one)) is not None
        pool.stop()
        assert found == [(None, "the firewall has stopped")]
        assert pool.ask(question(), lambda *one: found.append(one)) is None

    played(tmp_path, play)


def test_a_new_user_keeps_the_processes(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, b"/") == 0
        before = pool.pids
        pool.leave("test")
        pool.enter("next")
        assert await status(reactor, pool, b"/") == 0
        assert pool.pids == before
        pool.leave("next")
        pool.enter("test")

    played(tmp_path, play)


def test_the_processes_end_at_once_if_the_service_ends(tmp_path: Path) -> None:
    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, b"/") == 0
        pids = pool.pids
        pool.leave("test", now=True)
        assert pool.pids == []
        await eventually(reactor, lambda: not any(map(exists, pids)))

    played(tmp_path, play)


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def play(reactor: Any, pool: JudgePool) -> None:
        assert await status(reactor, pool, b"/") == 0

    played(tmp_path, play)
    before = descriptors()
    for _ in range(3):
        played(tmp_path, play, processes=2)
    assert descriptors() <= before + 1


def test_sections_share_processes_if_they_load_the_same(tmp_path: Path) -> None:
    spec = WafSpec("w", rules=str(small_rules(tmp_path)))
    key = RuleSource(spec).key
    assert RuleSource(evolve(spec, mode="detect")).key == key
    assert RuleSource(evolve(spec, paranoia=2)).key != key
