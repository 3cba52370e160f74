"""CONTROL. ``lbproxy why``: the reason for a refusal."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import click

from lbproxy.cli.base import main, stop
from lbproxy.cli.remote import Remote, json_option, remote_options, show_json
from lbproxy.cli.tables import plain

__all__: list[str] = []

_SHOWN = 20


@main.command()
@click.argument("request_or_client")
@remote_options
@json_option
def why(remote: Remote, request_or_client: str, as_data: bool) -> None:
    """Explain why a request, a session or a connection was refused.

    The argument is a request id, as on the page and in the access log, or the address of a client.

    \b
    lbproxy why 6f1ed002ab5595859014ebf0951522d9
    lbproxy why 203.0.113.9
    """
    try:
        client = str(ip_address(request_or_client))
    except ValueError:
        found = [remote.get(f"refusals/{quote(request_or_client, safe='')}")]
    else:
        found = remote.all("refusals", _SHOWN, client=client)
    if as_data:
        show_json(found)
        return
    if not found:
        stop(f"no refusal found for {request_or_client}")
    for one in found:
        _show(one)


def _show(one: dict[str, Any]) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["at"]))
    if one["status"]:
        click.echo(plain(f"{one['request_id']}: {one['status']} {one['close']}"))
        click.echo(plain(f"  request   {one['method']} {one['host']}{one['path']}"))
    else:
        click.echo(plain(f"{one['request_id'] or 'connection'}: {one['close']}"))
    click.echo(plain(f"  client    {one['client_ip']}, {when}, after {one['seconds']:.3f} s"))
    place = f"{one['frontend']}: {one['route'] or 'no route'}"
    click.echo(plain(f"  frontend  {place}{' -> ' + one['backend'] if one['backend'] else ''}"))
    click.echo(plain(f"  reason    {one['detail'] or one['close']}"))
