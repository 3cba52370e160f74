"""Secrets stay where they are: a variable is one word, and nothing that is shown has one."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent

from lbproxy.config.dump import as_json, dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.ini import substitute, substitute_words
from lbproxy.config.masking import redact
from lbproxy.config.words import split
from lbproxy.model.secrets import mask_text, mask_words
from lbproxy.registry import parse_config
from lbproxy.testing import LoadBalancerFixture
from tests.admin.kit import AdminClient

APP = """\
[frontend web]
listen = tcp:8080
backend = app

[backend app]
servers = a 10.0.0.1:80
"""


def load(text: str, **env: str) -> Any:
    return parse_config(text, env=env)


def error(text: str, **env: str) -> str:
    with pytest.raises(ConfigErrors) as caught:
        load(text, **env)
    return str(caught.value) + json.dumps([one.as_dict() for one in caught.value.errors])


# -- variables -------------------------------------------------------------------------------------


@given(value=st.text(max_size=30), form=st.sampled_from(['"{}"', "'{}'", "{}", "x{}y", 'x"{}"y']))
def test_a_variable_is_one_word_whatever_it_holds(value: str, form: str) -> None:
    text = f"before {form.format('${V}')} after"
    words = [word.text for word in split(substitute_words(text, {"V": value}))]
    whole = form.replace('"', "").replace("'", "").format(value)
    assert words == ["before", *([whole] if whole or "'" in form or '"' in form else []), "after"]


@pytest.mark.parametrize("value", ['a"b', "a b", "a'b", "a=b", "->", "a\\nb", "#x", "x # y"])
def test_a_password_in_a_line(value: str) -> None:
    for form in ("password=${PW}", 'password="${PW}"', "password='${PW}'"):
        config = load(APP + f"check = redis {form} every=1s\n", PW=value)
        assert config.backends[0].check.probe.options.password == value
        assert config.backends[0].check.every == 1.0


def test_a_plain_value_takes_a_variable_as_it_is() -> None:
    value = "two words and a \" and a '"
    assert load(APP + "host_header = ${H}\n", H=value).backends[0].host_header == value
    assert load(APP + 'host_header = "${H}"\n', H=value).backends[0].host_header == value
    assert load(APP + "host_header = x-${H}\n", H=value).backends[0].host_header == "x-" + value
    assert substitute("${H}", {"H": value}) == value


def test_variables_are_still_words_and_lists() -> None:
    text = APP.replace("backend = app", "backend = app\nallow = ${NETS}\nmode = ${MODE}")
    config = load(text + "balance = ${HOW}\n", NETS="10.0.0.0/8,::1", MODE="tcp", HOW="leastconn")
    assert len(config.frontends[0].allow) == 2
    assert (config.frontends[0].mode, config.backends[0].balance.name) == ("tcp", "leastconn")


# -- errors ----------------------------------------------------------------------------------------

PW = 'hunter2-"velvet"-door'


@pytest.mark.parametrize(
    "lines",
    [
        'check = redis password="${PW}" evry=1s',
        "check = redis pasword=${PW}",
        "check = redis password=${PW} password=x",
        "check = mysql user=a password=${PW} ${PW}",
        "check = http GET /?token=${PW} expect=9",
        "check = http ${PW}=1 header='Authorization: ${PW}' expect=nine",
        'filters = set-header request Authorization "Bearer {x ${PW}"',
        "filters = set-header request Authorization ${PW} ${PW}",
        "sticky = cookie LB secret=${PW}",
    ],
)
def test_errors_do_not_echo_it(lines: str) -> None:
    shown = error(APP + lines + "\n", PW=PW)
    assert "hunter2" not in shown and "velvet" not in shown, shown


def test_nor_where_it_was_written_without_quotes() -> None:
    shown = error(APP + "check = redis password=hunter2 correct horse evry=2s\n")
    assert not {"hunter2", "correct", "horse"} & set(shown.replace("'", " ").split())
    assert "unknown option 'evry'" in shown and "quote text with spaces" in shown
    shown = error(APP + 'check = redis password="hunter2 evry=2s\n')
    assert "never closed" in shown and "hunter2" not in shown


def test_nor_the_secret_itself_or_a_webhook() -> None:
    assert "hunter2" not in error("[lbproxy]\nsecret = hunter2\n" + APP)
    assert "hunter2" not in error("[alerts]\nwebhooks = ftp://h/hunter2\n" + APP)
    assert "hunter2" not in error("[alerts]\nwebhooks = https://h/hunter2 tokn=hunter2\n" + APP)
    assert "hunter2" not in error(
        APP.replace("backend = app", "routes = header Authorization ~(hunter2 -> app")
    )


def test_nor_a_line_in_the_wrong_place() -> None:
    assert "hunter2" not in error('    password="hunter2"\n' + APP)


def test_redact_keeps_the_rest() -> None:
    assert redact("unknown option 'evry' in 'hunter2x'", "hunter2x") == (
        "unknown option 'evry' in '***'"
    )
    assert redact("abc is not abcd", "abc") == "*** is not abcd"
    twice = 'a"b' * 4
    assert redact(repr(twice) + " is bad", twice) == "'***' is bad"


# -- what is shown ---------------------------------------------------------------------------------

SHOWN = """\
[frontend web]
listen = tcp:8080
filters =
    set-header request Cookie HUSH
    redirect 302 https://user:HUSH@host/?token=HUSH&page=2
routes =
    header Authorization "Bearer HUSH" -> app
    cookie session HUSH  -> app
    query api_key HUSH   -> app
    path /old            -> redirect 301 https://me:HUSH@new.example/?access_token=HUSH
    default              -> app

[backend app]
servers = a 10.0.0.1:80
check = {check}
"""
CHECKS = [
    "http GET /healthz?token=HUSH",
    'http header="Authorization: Basic HUSH"',
    "exec /bin/true --password HUSH --host {address}",
    "exec /bin/true --api-key=HUSH -u me:HUSH http://me:HUSH@host/",
    "redis password=HUSH",
]


@pytest.mark.parametrize("check", CHECKS)
def test_a_configuration_that_is_shown_has_no_secrets(check: str) -> None:
    config = load(SHOWN.replace("{check}", check))
    shown = json.dumps(as_json(config, mask=True))
    assert "HUSH" not in shown and "***" in shown
    assert all("HUSH" not in route.text for route in config.frontends[0].routes)
    assert "HUSH" in dump(config)
    assert load(dump(config)) == config


@pytest.mark.parametrize("check", ["http GET /healthz?token=HUSH", "redis password=HUSH"])
def test_the_log_and_the_api_have_no_secrets(check: str) -> None:
    """From the start over a reload that changes them to the end."""
    text = "[lbproxy]\nadmin = tcp:8404:interface=127.0.0.1\n" + SHOWN.replace("{check}", check)
    with capturedLogs() as said, LoadBalancerFixture.from_config(text) as lb:
        client = AdminClient(lb)
        lb.advance(5)
        for path in ("config", "routes", "state", "events", "backends/app"):
            answer = client.ask("GET", path)
            assert answer.status == 200
            assert "HUSH" not in answer.response.text, path
        assert "***" in client.ask("GET", "config").response.text
        dry = client.ask("POST", "reload?dry_run=true")
        assert "HUSH" not in dry.response.text
        report = lb.service.reload(text.replace("HUSH", "NEWHUSH"))
        assert report.ok and "HUSH" not in report.summary()
        assert "HUSH" not in client.ask("GET", "events").response.text
    assert said and not [event for event in map(formatEvent, said) if "HUSH" in str(event)]


def test_no_answer_of_the_api_has_a_secret_of_a_route() -> None:
    """Features name what they make for a route by its conditions."""
    features = "-> app limits=reports cache=pages challenge=on waf=shop"
    text = (
        "[lbproxy]\nadmin = tcp:8404:interface=127.0.0.1\n"
        "[limit reports]\nrate = 3/10s\n[cache pages]\nttl = default 10s\n[waf shop]\n"
        + SHOWN.replace("{check}", "http GET /healthz?token=HUSH").replace("-> app", features, 1)
    )
    with LoadBalancerFixture.from_config(text) as lb:
        client = AdminClient(lb)
        paths = json.loads(client.ask("GET", "openapi.json").response.text)["paths"]
        asked = 0
        for path, verbs in paths.items():
            kinds = verbs.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
            if "{" in path or not kinds.keys() & {"application/json", "text/plain"}:
                continue
            answer = client.ask("GET", path.removeprefix("/api/v1/"))
            assert "HUSH" not in answer.response.text, path
            asked += answer.status == 200
    assert asked > 20


def test_masking_leaves_the_rest() -> None:
    assert mask_text("https://a:b@h/x?page=2&token=t#f") == "https://***@h/x?page=2&token=***#f"
    assert mask_text("/login?next=/a&token={query:token}") == "/login?next=/a&token={query:token}"
    assert mask_text("https://{host}{uri}") == "https://{host}{uri}"
    assert mask_text('password="a b" x') == "password=*** x"
    assert mask_words(("curl", "-u", "me:pw", "--token", "t", "--max", "3")) == (
        "curl", "-u", "me:***", "--token", "***", "--max", "3",
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "password hunter2",
        "password = hunter2",
        "password =hunter2",
        "password= hunter2",
        "password=x hunter2",
        "password = x hunter2",
        "paswd hunter2",
        "sentinel_password hunter2 tls",
    ],
)
def test_a_secret_beside_its_key_is_not_echoed(words: str) -> None:
    text = (
        "[frontend db]\nmode = tcp\nlisten = tcp:1\nbackend = b\n"
        f"[backend b]\nservers = a 192.0.2.1:5\ncheck = redis {words}\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        parse_config(text)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str([one.as_dict() for one in caught.value.errors])


@pytest.mark.parametrize(
    "line",
    [
        "set-header request Ocp-Apim-Subscription-Key hunter2",
        "set-header request X-Functions-Key hunter2",
        'reply 200 "{{\\"token\\": \\"hunter2\\"}}"',
        'reply 200 \'{{"db_password": "hunter2"}}\'',
        "redirect 302 https://a.example/?key=hunter2&x=1",
        "redirect 302 https://a.example/?x=1&sid=hunter2",
    ],
)
def test_a_secret_of_a_filter_is_masked(line: str) -> None:
    text = APP.replace("backend = app", f"backend = app\nfilters = {line}")
    assert "hunter2" not in json.dumps(as_json(load(text), mask=True))


def test_the_login_of_a_command_is_masked() -> None:
    shown = mask_text("curl -su user:hunter2 http://a --user 'bob:hunter2' -u=c:hunter2")
    assert shown == "curl -su user:hunter2 http://a --user 'bob:***' -u=c:***"
    check = 'check = exec sh -c "curl -u user:hunter2 http://127.0.0.1/"'
    text = APP.replace("servers = a", f"{check}\nservers = a")
    assert "hunter2" not in json.dumps(as_json(load(text), mask=True))


@pytest.mark.parametrize("key", ["bypass", "refresh"])
def test_conditions_of_a_cache_are_masked(key: str) -> None:
    lines = "\n    header Authorization hunter2\n    cookie session hunter2"
    text = APP.replace("backend = app", "backend = app\ncache = c") + f"[cache c]\n{key} ={lines}\n"
    shown = json.dumps(as_json(load(text), mask=True))
    assert "Authorization" in shown and "hunter2" not in shown


@pytest.mark.parametrize("part", ["a", "a-", "a.", "_", "://a", '"a-', "token ", "-u "])
def test_long_texts_are_masked_in_linear_time(part: str) -> None:
    text = part * (20000 // len(part))
    began = process_time()
    assert mask_text(text) == text
    assert process_time() - began < 2
