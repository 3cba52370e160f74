"""Coroutine functions as checks: what they may give, and their parameters as options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.health.state import Result
from lbproxy.probes.base import Conversation, ProbeTarget, Unhealthy
from lbproxy.probes.function import function_probe
from lbproxy.registry import parse_config
from tests.probes.world import World

TEXT = """\
[frontend f]
mode = tcp
listen = tcp:9999
backend = b

[backend b]
servers = a 10.0.0.1:8000
check = checks.py:{words}
"""


def run(answer: Any) -> Any:
    async def check(target: ProbeTarget) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    world = World()
    probe = function_probe(check, "checks.py:check")
    return world.begin(probe(probe.Options(), world.env))[0]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (True, Result(True)),
        (None, Result(True)),
        (False, Result(False, "said no")),
        ("12 waiting", Result(True, "12 waiting")),
        (Result(True, "light", 0.0, 5), Result(True, "light", 0.0, 5)),
        (Unhealthy("too many"), Result(False, "too many")),
    ],
)
def test_answers(answer: Any, result: Result) -> None:
    assert run(answer) == result


@pytest.mark.parametrize("answer", [1, b"x", object()])
def test_other_answers_are_mistakes(answer: Any) -> None:
    assert "not a bool, a text or a Result" in run(answer).getErrorMessage()


def test_it_may_talk_to_the_server() -> None:
    async def check(target: ProbeTarget, word: str = "hello") -> str:
        async with await Conversation.open(target) as conversation:
            conversation.send(word.encode() + b"\n")
            return (await conversation.receive_line()).decode()

    world = World(lambda client: client.write(client.data[::-1]) if client.data else None)
    world.listen()
    probe = function_probe(check, "f")
    assert world.check(probe(probe.Options(word="abc"), world.env)).note == ""
    assert world.clients[0].data == b"abc\n" and world.all_closed()


def load(folder: Path, code: str, words: str) -> Any:
    (folder / "checks.py").write_text(code)
    return parse_config(TEXT.format(words=words), base_dir=str(folder))


CODE = """
async def depth(
    target, limit: int, queue: str = "jobs", *, factor: float = 1.5, loud: bool = False
):
    "Counts."
    return True

def plain(target): return True
async def nobody(): return True
async def odd(target, things: list = ()): return True
async def rest(target, *things): return True
"""


def test_parameters_are_options(tmp_path: Path) -> None:
    config = load(tmp_path, CODE, "depth limit=7 factor=2 loud every=3s")
    spec = config.backends[0].check
    options = spec.probe.options
    assert (options.limit, options.queue, options.factor, options.loud) == (7, "jobs", 2.0, True)
    assert spec.every == 3.0
    again = parse_config(dump(config), base_dir=str(tmp_path))
    assert again.backends[0].check == spec, "an unchanged file gives the same class"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("depth", "limit is missing"),
        ("depth limit=x", "limit"),
        ("depth limit=1 colour=red", "unknown option 'colour'"),
        ("plain", "neither a class nor an async function"),
        ("nobody", "first argument"),
        ("odd", "things cannot be an option"),
        ("rest", "things cannot be an option"),
    ],
)
def test_mistakes(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(ConfigErrors, match=message):
        load(tmp_path, CODE, words)
