"""CONTROL. Commands that need a configuration but no running lbproxy: check, explain, config."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbproxy.cli.base import FILE, count, load, main, stop
from lbproxy.config.build import DISK, Files
from lbproxy.config.changes import Drift
from lbproxy.config.errors import ConfigError, ConfigErrors
from lbproxy.config.model import Config, Where
from lbproxy.registry import (
    load_config,
    parse_config,
    reference,
    reference_as_data,
    refuse_nothing,
    schema,
)

if TYPE_CHECKING:
    from lbproxy.decide.posture import OpenPoint

STDIN_BYTES = 16 * 1024 * 1024
"""Maximum size of a configuration on standard input."""

NO_FILES = Files(read=DISK.read, glob=DISK.glob, exists=lambda path: True)
"""File access that treats every certificate, key and authority as existing."""


def _read_all(path: Path) -> Config:
    """Return the configuration after creating all its objects (keys, certificates, filters) without
    opening anything.
    """
    from lbproxy.decide.settled import is_settled
    from lbproxy.generation.exposure import exposed_files
    from lbproxy.generation.featurewarnings import feature_warnings

    config = _read(path, DISK)
    settled = is_settled(config)
    warnings = exposed_files(config) + feature_warnings(config) if settled else _assembled(config)
    for text in warnings:
        click.echo(f"warning: {text}", err=True)
    return config


def _assembled(config: Config) -> list[str]:
    """Create all objects of ``config`` and return its warnings. Raises ConfigErrors."""
    from twisted.internet import reactor

    from lbproxy.service import LoadBalancer

    return LoadBalancer(config, reactor=reactor).warnings()


def _read_text(path: Path) -> Config:
    """Return the configuration alone. Only the file, its includes and plugins in files are read."""
    return _read(path, NO_FILES)


def decisions(path: Path) -> Config:
    """Return the configuration for commands that only make decisions and need no key or
    certificate.
    """
    return load_config(path, files=NO_FILES)


def _read(path: Path, files: Files) -> Config:
    """Return the configuration in a file, or on standard input for ``-``, with paths relative to
    the present folder.
    """
    if str(path) != "-":
        return refuse_nothing(load_config(path, files=files))
    text = sys.stdin.buffer.read(STDIN_BYTES + 1)
    try:
        if len(text) > STDIN_BYTES:
            raise ValueError(f"is longer than {STDIN_BYTES} bytes")
        return refuse_nothing(parse_config(text.decode("utf-8"), "<stdin>", ".", files=files))
    except UnicodeDecodeError:
        message = "is not UTF-8 text"
    except ValueError as error:
        message = str(error)
    raise ConfigErrors([ConfigError(Where("<stdin>"), "", "", message)])


@main.command()
@click.argument("config", type=FILE)
@click.option("--json", "as_data", is_flag=True, help="Machine-readable result on standard output.")
@click.option(
    "--no-files",
    is_flag=True,
    help="Read only the configuration; assume that certificates, keys and log directories exist.",
)
@click.option("--security", is_flag=True, help="Also list weak points of the configuration.")
def check(config: Path, as_data: bool, no_files: bool, security: bool) -> None:
    """Report all mistakes in CONFIG, and in its keys and certificates.

    CONFIG may be - for standard input. Exit status 0 if the configuration is valid, else 1.
    """
    read = _read_text if no_files else _read_all
    if as_data:
        _check_json(config, read, drifts=not no_files, security=security)
        return
    loaded = load(config, read)
    if not no_files:
        _check_rules(loaded)
    listeners = sum(len(frontend.listen) for frontend in loaded.frontends)
    click.echo(
        f"{config}: good: {count(len(loaded.frontends), 'frontend')} with "
        f"{count(listeners, 'listener')}, "
        f"{count(len(loaded.backends), 'backend')} with {_servers(loaded)}"
    )
    for line in _cors_proxies(loaded):
        click.echo(line)
    for one in () if no_files else _drift(loaded):
        click.echo(f"running differs from {config}: {one.text}")
    for point in _open_points(loaded) if security else ():
        click.echo(f"open: {point}")
    if str(config) != "-":
        click.echo(f"start it with: lbproxy run {config}")


def _open_points(config: Config) -> list[OpenPoint]:
    """Return the weak points of ``config``."""
    from lbproxy.decide.posture import open_points

    return list(open_points(config))


def _servers(config: Config) -> str:
    """Return the number of servers, and how many more DNS may add."""
    written = sum(len(backend.servers) for backend in config.backends)
    found = sum(len(line.names) for backend in config.backends for line in backend.discover)
    if not found:
        return count(written, "server")
    dns = f"up to {count(found, 'server')} from DNS"
    return f"{count(written, 'server')} and {dns}" if written else dns


def _cors_proxies(config: Config) -> list[str]:
    """Return a line for each CORS proxy of the configuration."""
    if not any(one.mode == "corsproxy" for one in config.frontends):
        return []
    from lbproxy.decide.corscalls import cors_summaries

    return list(cors_summaries(config))


def _check_rules(config: Config) -> None:
    """Run the examples of the firewall's rules, if the configuration has a firewall."""
    from lbproxy.proxy.features.waf.spec import WafSpec

    if not config.of(WafSpec):
        return
    from lbproxy.waf.examples import wrong_examples
    from lbproxy.waf.rules import RULES

    wrong = wrong_examples(RULES)
    for line in wrong:
        click.echo(f"firewall: {line}", err=True)
    if wrong:
        sys.exit(1)


def _drift(config: Config) -> list[Drift]:
    """Return the run-time changes in the state file."""
    if not config.settings.state:
        return []
    from lbproxy.operate.statefile import read_state

    try:
        return read_state(config.settings.state).drift(config)
    except ValueError as error:
        click.echo(f"{config.settings.state}: cannot be used: {error}", err=True)
        return []


def _check_json(
    config: Path, read: Callable[[Path], Config], *, drifts: bool, security: bool
) -> None:
    from lbproxy.config.dump import as_json

    try:
        loaded = read(config)
    except ConfigErrors as errors:
        click.echo(
            json.dumps({"ok": False, "errors": [one.as_dict() for one in errors.errors]}, indent=2)
        )
        sys.exit(1)
    drift = [one.as_dict() for one in (_drift(loaded) if drifts else ())]
    found = {"ok": True, "errors": [], "drift": drift, "config": as_json(loaded, mask=True)}
    if security:
        found["security"] = [one.as_dict() for one in _open_points(loaded)]
    click.echo(json.dumps(found, indent=2))


@main.group()
def config() -> None:
    """Describe the configuration language."""


@config.command("reference")
@click.option("--rst", is_flag=True, help="As reStructuredText, as in the documentation.")
@click.option("--json", "as_data", is_flag=True, help="As JSON, for editors and generators.")
def config_reference(rst: bool, as_data: bool) -> None:
    """Print every section, key and plugin with its type, default and bounds."""
    if as_data:
        click.echo(json.dumps(reference_as_data(), indent=2))
        return
    text = reference("rst" if rst else "text")
    if sys.stdout.isatty():
        click.echo_via_pager(text)
    else:
        click.echo(text)


@config.command("schema")
def config_schema() -> None:
    """Print a JSON Schema of `config` in the output of `lbproxy check --json`."""
    click.echo(json.dumps(schema(), indent=2))


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

    Certificates and keys are not read, so it works away from the servers.

    \b
    lbproxy explain lb.ini GET https://shop.example.com/cart -H 'Cookie: user=7'
    lbproxy explain lb.ini TCP 5432 --sni db.example.com --client 10.1.2.3
    """
    from lbproxy.decide.explain import explain_http, explain_tcp
    from lbproxy.http.message import header_pairs

    loaded = load(config, decisions)
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
