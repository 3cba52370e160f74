"""CONTROL. Commands that need a configuration and nothing that runs: check, explain, config."""

from __future__ import annotations

import json
import sys
from ipaddress import ip_address
from pathlib import Path

import click

from lbproxy.cli.base import FILE, count, load, main, stop
from lbproxy.config.changes import Drift
from lbproxy.config.dump import as_json
from lbproxy.config.errors import ConfigErrors
from lbproxy.config.model import Config
from lbproxy.decide.explain import explain_http, explain_tcp
from lbproxy.http.message import header_pairs
from lbproxy.operate.statefile import read_state
from lbproxy.registry import load_config, reference


def _read_all(path: Path) -> Config:
    """The configuration, after making all that it needs short of opening anything: keys, certificates, filters."""
    from twisted.internet import reactor

    from lbproxy.service import LoadBalancer, refuse_nothing

    config = refuse_nothing(load_config(path))
    for text in LoadBalancer(config, reactor=reactor).warnings():
        click.echo(f"warning: {text}", err=True)
    return config


@main.command()
@click.argument("config", type=FILE)
@click.option("--json", "as_data", is_flag=True, help="Machine-readable result on standard output.")
def check(config: Path, as_data: bool) -> None:
    """Say everything that is wrong with CONFIG, and with the keys and certificates it names.

    Exit status 0 when it can be used, 1 when it cannot.
    """
    if as_data:
        _check_json(config)
        return
    loaded = load(config, _read_all)
    servers = sum(len(backend.servers) for backend in loaded.backends)
    listeners = sum(len(frontend.listen) for frontend in loaded.frontends)
    click.echo(
        f"{config}: good: {count(len(loaded.frontends), 'frontend')} with {count(listeners, 'listener')}, "
        f"{count(len(loaded.backends), 'backend')} with {count(servers, 'server')}"
    )
    for one in _drift(loaded):
        click.echo(f"running differs from {config}: {one.text}")
    click.echo(f"start it with: lbproxy run {config}")


def _drift(config: Config) -> list[Drift]:
    """What was changed at run time, as its state file says."""
    if not config.settings.state:
        return []
    try:
        return read_state(config.settings.state).drift(config)
    except ValueError as error:
        click.echo(f"{config.settings.state}: cannot be used: {error}", err=True)
        return []


def _check_json(config: Path) -> None:
    try:
        loaded = _read_all(config)
    except ConfigErrors as errors:
        click.echo(
            json.dumps({"ok": False, "errors": [one.as_dict() for one in errors.errors]}, indent=2)
        )
        sys.exit(1)
    drift = [one.as_dict() for one in _drift(loaded)]
    found = {"ok": True, "errors": [], "drift": drift, "config": as_json(loaded, mask=True)}
    click.echo(json.dumps(found, indent=2))


@main.group()
def config() -> None:
    """The configuration language."""


@config.command("reference")
@click.option("--rst", is_flag=True, help="As reStructuredText, as in the documentation.")
def config_reference(rst: bool) -> None:
    """Every section, key and plugin with its type, default and bounds."""
    click.echo_via_pager(
        reference("rst" if rst else "text")
    ) if sys.stdout.isatty() else click.echo(reference("rst" if rst else "text"))


@main.command()
@click.argument("config", type=FILE)
@click.argument("method")
@click.argument("target")
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A request header."
)
@click.option("--client", default="192.0.2.1", show_default=True, help="The client's address.")
@click.option("--sni", default="", help="tcp: the server name in the ClientHello.")
@click.option(
    "--alpn", default="", help="tcp: the protocols in the ClientHello, separated by commas."
)
@click.option("--json", "as_data", is_flag=True, help="Machine-readable result.")
def explain(
    config: Path,
    method: str,
    target: str,
    headers: tuple[str, ...],
    client: str,
    sni: str,
    alpn: str,
    as_data: bool,
) -> None:
    """Show what would happen to a request or a TCP connection, and why.

    \b
    lbproxy explain lb.ini GET https://shop.example.com/cart -H 'Cookie: user=7'
    lbproxy explain lb.ini TCP 5432 --sni db.example.com --client 10.1.2.3
    """
    loaded = load(config)
    try:
        ip_address(client)
        if method.upper() == "TCP":
            protocols = tuple(word for word in alpn.split(",") if word)
            result = explain_tcp(loaded, _port(target), sni, protocols, client)
        else:
            result = explain_http(loaded, method, target, header_pairs(_pairs(headers)), client)
    except ValueError as error:
        stop(str(error))
    click.echo(result.as_json() if as_data else result.as_text())
    sys.exit(1 if result.error else 0)


def _port(text: str) -> int:
    port = text.rpartition(":")[2]
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not a port")
    return int(port)


def _pairs(headers: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for line in headers:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"header {line!r} is not 'NAME: VALUE'")
        pairs.append((name.strip(), value.strip()))
    return pairs
