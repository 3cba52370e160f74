"""CONTROL. The messages of the master to its workers: configuration, sockets, state of servers.

A worker gets everything when it starts and when the configuration changes, and only changes in
between. :class:`lbproxy.workers.worker.Worker` is the other end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import attrs

from lbproxy.alerts.alerter import limits_for
from lbproxy.config.dump import dump
from lbproxy.model import Address
from lbproxy.service import LoadBalancer
from lbproxy.workers.channel import Channel
from lbproxy.workers.places import Places
from lbproxy.workers.process import WorkerProcess
from lbproxy.workers.serverstate import encode, signature
from lbproxy.workers.sockets import SharedBound

__all__ = ["Handout"]

_ANY = ("", "0.0.0.0", "::")


class Handout:
    """Sends messages to workers. ``secret``, ``folder``: shared by all workers."""

    def __init__(
        self,
        balancer: LoadBalancer,
        workers: Sequence[WorkerProcess],
        secret: bytes,
        folder: str,
    ) -> None:
        self._balancer = balancer
        self._workers = workers
        self._secret = secret
        self._folder = folder
        self._places = Places()

    def everything(self, worker: WorkerProcess) -> dict[str, Any]:
        """Return configuration and state, as the body of a message."""
        config = self._balancer.config
        folder = os.path.dirname(os.path.abspath(config.file))  # noqa: PTH100, PTH120
        worker.signatures = {name: signature(one) for name, one in self._balancer.backends.items()}
        worker.places = self._places.update(self._balancer.backends)
        worker.busy, worker.outdated = True, False
        worker.holds |= self.addresses()
        return {
            "text": dump(config),
            "file": config.file,
            "folder": folder,
            "secret": self._secret.hex(),
            "state": {name: encode(one) for name, one in self._balancer.backends.items()},
            "places": worker.places,
            "shared_folder": self._folder,
            "measure": bool(config.settings.admin) or config.alerts.on,
            "offenders": bool(limits_for(config)),
        }

    def send_sockets(self, worker: WorkerProcess, channel: Channel) -> None:
        """Send the listening sockets.

        ``channel`` is the worker's. A failed send closes and forgets it.
        """
        for listener in self._balancer.listeners:
            bound = listener.bound
            if isinstance(bound, SharedBound):
                message = {"type": "socket", "address": attrs.asdict(bound.wanted)}
                channel.send(message, [bound.for_slot(worker.slot).fileno()])

    def addresses(self) -> set[Address]:
        """Return the addresses whose sockets all workers get."""
        bounds = [listener.bound for listener in self._balancer.listeners]
        return {bound.address for bound in bounds if isinstance(bound, SharedBound)}

    def holds(self, address: Address) -> bool:
        """Return whether the master or a worker may still listen on the address."""
        ours = [self.addresses(), *(worker.holds for worker in self._workers)]
        return any(
            one.port == address.port
            and (one.host == address.host or one.host in _ANY or address.host in _ANY)
            for held in ours
            for one in held
        )

    def send_state(self, *, patient: bool = False) -> None:
        """Send changed server states to the workers. ``patient``: skip workers that are behind."""
        now = {name: signature(one) for name, one in self._balancer.backends.items()}
        followed = sorted(name for name, one in self._balancer.frontends.items() if one.followers)
        for worker in self._workers:
            channel = worker.channel
            if channel is None or (patient and channel.behind):
                continue
            if worker.followed != followed:
                worker.followed = followed
                channel.send({"type": "follow", "frontends": followed})
            changed = [name for name, sign in now.items() if worker.signatures.get(name) != sign]
            if changed:
                worker.signatures = now
                places = self._places.update(self._balancer.backends)
                state = {name: encode(self._balancer.backends[name]) for name in changed}
                known = worker.places is places
                worker.places = places
                message = {"type": "state", "state": state, "places": None if known else places}
                channel.send(message)

    def send_reload(self, worker: WorkerProcess) -> None:
        """Send one configuration at a time. A slow worker gets only the last one of several."""
        channel = worker.channel
        worker.outdated = worker.busy
        if channel is not None and not worker.busy:
            self.send_sockets(worker, channel)
            channel.send({"type": "reload", **self.everything(worker)})
