"""CONTROL. ``lbproxy cache``: purge, list, show, stats, warm, replay and why."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from lbproxy.cli.base import count, main, stop
from lbproxy.cli.cachereplay import replay_command
from lbproxy.cli.cachewarm import warm_command
from lbproxy.cli.remote import REFUSED, Remote, json_option, remote_options, show_json
from lbproxy.cli.tables import bytes_, plain, show, since

__all__: list[str] = []

_cache_option = click.option(
    "--cache",
    "name",
    default="",
    metavar="NAME",
    help="Name of the [cache NAME] section. Default: all caches.",
)


@main.group()
def cache() -> None:
    """Inspect caches and purge stored responses."""


cache.add_command(warm_command)
cache.add_command(replay_command)


def _names(remote: Remote, name: str) -> list[str]:
    names = [one["name"] for one in remote.all("caches")]
    if not names:
        stop("no route has a cache: add a [cache NAME] and 'cache = NAME'")
    if name and name not in names:
        stop(f"there is no cache {name!r}; the caches are {', '.join(names)}")
    return [name] if name else names


@cache.command()
@click.argument("url", required=False, default="")
@click.option("--prefix", default="", metavar="URL", help="All URLs that begin with this one.")
@click.option(
    "--host",
    default="",
    metavar="HOST",
    help="All URLs of a host, with its port if not the default.",
)
@click.option("--tag", default="", metavar="TAG", help="All responses with this tag.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--soft", is_flag=True, help="Mark as stale: served until a fresh one is fetched.")
@_cache_option
@remote_options
@json_option
def purge(
    remote: Remote,
    url: str,
    prefix: str,
    host: str,
    tag: str,
    everything: bool,
    soft: bool,
    name: str,
    as_data: bool,
) -> None:
    """Remove responses from a cache.

    \b
    lbproxy cache purge https://www.example.com/a
    lbproxy cache purge --tag product-7 --soft
    """
    given = {"url": url, "prefix": prefix, "host": host, "tag": tag}
    query: dict[str, Any] = {key: value for key, value in given.items() if value}
    if everything:
        query["all"] = "true"
    if len(query) != 1:
        stop("specify one of URL, --prefix, --host, --tag and --all")
    if soft:
        query["soft"] = "true"
    found = {
        one: remote.ask("POST", f"caches/{quote(one, safe='')}/purge", **query)
        for one in _names(remote, name)
    }
    if as_data:
        show_json(found)
        return
    for one, answer in found.items():
        click.echo(
            f"{one}: {count(answer['purged'], 'response')} {'made stale' if soft else 'purged'}"
        )


@cache.command()
@_cache_option
@remote_options
@json_option
def stats(remote: Remote, name: str, as_data: bool) -> None:
    """Show size, hits and misses of the caches.

    \b
    lbproxy cache stats
    lbproxy cache stats --json
    """
    found = remote.all("caches")
    if name or not (found or as_data):
        names = _names(remote, name)
        found = [one for one in found if one["name"] in names]
    if as_data:
        show_json(found)
        return
    rows = [
        (
            one["name"],
            one["objects"],
            f"{bytes_(one['bytes'])} of {bytes_(one['limit'])}",
            f"{bytes_(one['disk_bytes'])} of {bytes_(one['disk_limit'])}",
            f"{one['hit_ratio']:.1%}",
            one["hits"],
            one["misses"],
            one["collapsed"],
            one["evicted"],
        )
        for one in found
    ]
    titles = (
        "cache",
        "objects",
        "memory",
        "disk",
        "hit ratio",
        "hits",
        "misses",
        "collapsed",
        "evicted",
    )
    show(titles, rows)


@cache.command(name="list")
@click.argument("url", required=False, default="")
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(1, 100_000),
    metavar="NUMBER",
    help="Maximum number of responses of each cache.",
)
@_cache_option
@remote_options
@json_option
def entries(remote: Remote, url: str, limit: int, name: str, as_data: bool) -> None:
    """List stored responses of one URL, or of all URLs.

    \b
    lbproxy cache list
    lbproxy cache list https://www.example.com/a
    """
    found = []
    for one in _names(remote, name):
        path = f"caches/{quote(one, safe='')}/entries"
        found += [{"cache": one, **entry} for entry in remote.all(path, limit, url=url or None)]
    if as_data:
        show_json(found)
        return
    rows = [
        (
            one["cache"],
            plain(one["url"]),
            one["status"],
            one["bytes"],
            one["hits"],
            since(one["age"]),
            f"{one['lifetime']:g} s by {one['rule']}" + (", purged" if one["purged"] else ""),
        )
        for one in found
    ]
    show(("cache", "url", "status", "bytes", "hits", "age", "fresh for"), rows)


@cache.command(name="show")
@click.argument("url")
@_cache_option
@remote_options
@json_option
def object_(remote: Remote, url: str, name: str, as_data: bool) -> None:
    """Show the stored responses of one URL: head, key, directives and times.

    \b
    lbproxy cache show https://www.example.com/a
    """
    found = []
    for one in _names(remote, name):
        path = f"caches/{quote(one, safe='')}/object"
        found += [{"cache": one, **entry} for entry in remote.all(path, 1000, url=url)]
    if as_data:
        show_json(found)
        return
    if not found:
        stop(f"nothing is stored of {url}; 'lbproxy cache why URL' says why", REFUSED)
    for entry in found:
        _describe(entry)


def _describe(entry: dict[str, Any]) -> None:
    state = "stale" if entry["purged"] or entry["age"] > entry["lifetime"] else "fresh"
    click.echo(f"{entry['cache']}: {plain(entry['url'])}")
    rows = [
        (
            "state",
            f"{state}, {since(entry['age'])} old, {entry['lifetime']:g} s by {entry['rule']}",
        ),
        ("size", f"{bytes_(entry['bytes'])} bytes, {count(entry['hits'], 'hit')}"),
        ("key", " ".join(map(repr, entry["key"]))),
        (entry["control"], ", ".join(entry["directives"]) or "no directives"),
        ("cookies", "shared by clients with cookies" if entry["cookies"] else ""),
        ("vary", ", ".join(f"{key}: {value or 'absent'}" for key, value in entry["vary"].items())),
        ("tags", " ".join(entry["tags"])),
        ("groups", " ".join(entry["groups"])),
        ("file", entry["file"]),
    ]
    for title, text in rows:
        if text:
            click.echo(f"  {title}: {plain(text)}")
    click.echo(f"  status: {entry['status']}")
    for line in entry["headers"]:
        click.echo(f"    {plain(line)}")


@cache.command()
@click.argument("url")
@click.option("-H", "headers", multiple=True, metavar="NAME:VALUE", help="A header of the request.")
@click.option(
    "-X",
    "method",
    default="GET",
    show_default=True,
    metavar="METHOD",
    help="The method of the request.",
)
@_cache_option
@remote_options
@json_option
def why(
    remote: Remote, url: str, headers: tuple[str, ...], method: str, name: str, as_data: bool
) -> None:
    """Explain what a cache would do with a request, and by which rule.

    \b
    lbproxy cache why https://www.example.com/a -H "Accept-Language: de"
    """
    body = {"url": url, "method": method, "headers": list(headers)}
    found = {
        one: remote.ask("POST", f"caches/{quote(one, safe='')}/why", body)
        for one in _names(remote, name)
    }
    if as_data:
        show_json(found)
        return
    for one, answer in found.items():
        _explain(one, answer)


def _explain(name: str, answer: dict[str, Any]) -> None:
    click.echo(f"{name}: {plain(answer['url'])}")
    if answer["obstacle"]:
        click.echo(f"  goes to a server: {plain(answer['obstacle'])}")
    if answer["refresh"]:
        click.echo(f"  is fetched again, and stored: {plain(answer['refresh'])}")
    for line in answer["depends"]:
        click.echo(f"  depends on the client's connection: {plain(line)}")
    for one in answer["stored"]:
        vary = "".join(f", {key}: {value or 'absent'}" for key, value in one["vary"].items())
        click.echo(
            f"  stored: status {one['status']}, a body of {bytes_(one['bytes'])} bytes,"
            f" {since(one['age'])} old, fresh for {one['lifetime']:g} s"
            f" by {one['rule']}{plain(vary)}"
        )
        click.echo(f"    use: {one['use']}: {plain(one['reason'])} ({one['by']})")
    if not answer["stored"]:
        click.echo("  nothing is stored")
    for line in answer["ttl"]:
        click.echo(f"  a new response may match: ttl {plain(line)}")
    if answer["not_stored"]:
        click.echo(f"  the last response was not stored: {plain(answer['not_stored'])}")
