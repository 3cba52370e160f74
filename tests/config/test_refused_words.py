"""Lines of caches, bans, limits, firewalls and sites that are refused, each with its reason."""

from __future__ import annotations

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config

REST = "[frontend web]\nlisten = tcp:80\nbackend = app\n[backend app]\nservers = a 10.0.0.1:80\n"


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        ("cache main", "ttl = force", "write [STATUS,...]"),
        ("cache main", "ttl = 200 5x", "5x"),
        ("cache main", "ttl = 200,206 1m", "206 is not a status that can be stored"),
        ("cache main", "ttl = 200 colour red 1m", "found 'colour'"),
        ("cache main", "ttl = 4xx 1m", "'4xx' is not a list of statuses"),
        ("cache main", "ttl = 404, 410 1m", "'404,' is not a list of statuses"),
        ("cache main", "ttl = type html 1m", "'html' is not a media type"),
        ("cache main", "ttl = path static/* 1m", "must begin with '/', '*' or '~'"),
        ("cache main", "ttl = path ~( 1m", "invalid regular expression '('"),
        ("cache main", "ttl =\n    10m\n    404 1s", "'404 1s' is never used: '10m' is before it"),
        ("cache main", "ttl =\n    404,410 10m\n    410 path /a 1s", "'410 path /a 1s' is never"),
        ("cache main", "ttl =\n    default 1m\n    default 2m", "'default 2m' is never used"),
        ("cache main", "query = sort turn", "unknown word 'turn'"),
        ("cache main", "query = ignore=a ignore=b", "'ignore' occurs twice"),
        ("cache main", "query = keep=", "'keep=' names no parameter"),
        ("cache main", "query = ignore=a, b", "'b' follows a blank"),
        ("cache main", "query = ignore=a keep=b", "use either 'ignore=' or 'keep='"),
        ("cache main", "key = {path} {nothing}", "unknown variable '{nothing}'"),
        ("cache main", "key = {path} {header}", "unknown variable '{header}'"),
        ("cache main", "key = {host}", "the key needs {path} or {uri}"),
        ("cache main", "key = {path} {path}", "a variable occurs twice"),
        ("cache main", "cookies = forget x", "a group begins with ignore, key or bypass"),
        ("cache main", "cookies = ignore a key b", "write a comma before 'key'"),
        ("cache main", "cookies = ignore", "names no cookie"),
        ("cache main", "cookies = ignore a, key a", "cookie 'a' occurs twice"),
        ("cache main", "bypass = if path /a", "write the conditions without 'if'"),
        ("cache main", "post = no", "or write none"),
        ("cache main", "memory = 1k", "1k is out of bounds; it must be at least 64k"),
        ("cache main", "redis_timeout = 5ms", "has no effect without 'redis = yes'"),
        ("cache main", "disk = . 1g", "the cache needs a folder of its own"),
        ("cache main", "disk = c/ 1g\n[cache b]\ndisk = x/../c 1g", "[cache main] has the same"),
        ("cache main", "disk = c/ 1g\n[cache b]\ndisk = c/d 1g", "is inside that of [cache main]"),
        ("cache main", "disk = c/d 1g\n[cache b]\ndisk = c 1g", "contains that of [cache main]"),
        ("cache none", "memory = 1m", "'none' is reserved as a name"),
        ("cache main", "proxy_cache_lock_age = 5s", "'wait' in [cache NAME]"),
        ("cache main", "disk = cache/", "write FOLDER SIZE"),
        ("cache main", "disk = cache/ 5x", "5x"),
        ("ban x", "after = 1 2", "write COUNT/TIME"),
        ("ban x", "after = some", "some"),
        ("ban x", "on = track:none", "there is no track 'none'"),
        ("ban x", "on = 5yy", "'5yy' cannot be counted"),
        ("ban x", "time = 1m..", "write SHORTEST..LONGEST"),
        ("ban x", "time = 1m..x", "x"),
        ("ban x", "time = 2h..1h", "the first time is longer than the last"),
        ("ban x", "action = tarpit 5x", "5x"),
        ("ban x", "action = shout", "'shout' is not an action"),
        ("waf x", "exclude = 942100 colour:red", "unknown part 'colour:red'"),
        ("limit x", "action = delay queue=0", "0"),
        ("limit x", "action = shout", "'shout' is not an action"),
        ("limit x", "action = ban none", "there is no ban 'none'"),
        ("site", "hosts = example.com", "a site needs a name: [site NAME]"),
        ("site a b", "hosts = example.com", "a b"),
        ("site x", "hosts = example.com", "the key is missing: the frontends that serve the site"),
        ("site x", "hosts = example.com\non = nowhere", "nowhere"),
        ("site x", "hosts = example.com\non = web", "has neither a backend nor routes"),
        ("site x", "colour = red", "unknown key 'colour'"),
        ("site x", "on = web\non = web", "given twice, first at"),
    ],
)
def test_a_line_that_is_refused(section: str, line: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(f"{REST}[{section}]\n{line}\n")
    messages = [error.message for error in caught.value.errors]
    assert any(message in one for one in messages), messages
    assert all(error.where.line >= 6 for error in caught.value.errors)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("cache main", "query = sort ignore=utm_*,fbclid"),
        ("cache main", "query = keep=id"),
        ("cache main", "key = {scheme} {host} {path} {header:accept-language} {cookie:A}"),
        ("cache main", "cookies = ignore _ga*, key lang, bypass session"),
        ("cache main", 'ttl = 200,404 type "image/*" path /a/* 1m force'),
        ("cache main", "ttl = default 5m"),
        ("cache main", "ttl =\n    10m\n    502 1s"),
        (
            "cache main",
            "ttl =\n    404 1s\n    default 1m\n    path ~\\.css$ 1d\n    type *+json 1m",
        ),
        ("cache main", "cookies = ignore 'key' \"bypass\" a, key 'ignore'"),
        ("cache main", "query = ignore=filter[*]"),
        ("ban x", "after = 30/1m"),
        ("ban x", "time = 1m..24h"),
        ("ban x", "time = 5m"),
        ("ban x", "action = tarpit"),
        ("ban x", "action = drop"),
    ],
)
def test_a_line_that_is_written_and_read_again(section: str, line: str) -> None:
    config = parse_config(f"{REST}[{section}]\n{line}\n")
    text = dump(config)
    assert parse_config(text) == config
    assert dump(parse_config(text)) == text
