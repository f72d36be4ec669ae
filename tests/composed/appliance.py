"""Two whole daemons in one process, with the reference drivers of every role below them.

All of core is real: composition, jobs, SQLite, the API over TLS, the partner over mutual TLS on the loopback. Only
the mechanisms are models: they share one world, so that what one node does the other one sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from marshmallow import Schema, post_load

from holdfast.__main__ import serve
from holdfast.compose.daemon import System, compose
from holdfast.compose.outside import Outside
from holdfast.config import ApiSettings, Config, PeerSettings, PluginSettings
from holdfast.errors import BusyError
from holdfast.hooks.base import CONTRACT, Driver, Host, Missing, Offer, hookimpl
from holdfast.hooks.failover import FailoverDriver, MonitorPlan
from holdfast.hooks.replication import CopyDriver, MirrorDriver, MirrorSpec, MirrorStatus
from holdfast.hooks.share import NfsDriver, SmbDriver
from holdfast.hooks.target import TargetDriver
from holdfast.hooks.volume import Volume, VolumeDriver
from holdfast.loading.discovery import Found
from holdfast.services.groups.plans import read_plan
from holdfast.services.steps import StepObserver
from holdfast.system.clock import Clock, SystemClock
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.fakes import ScriptedCommands
from holdfast.testing.memory_copy import MemoryCopyDriver, MemoryNetwork
from holdfast.testing.memory_drbd import Media, Node
from holdfast.testing.memory_failover import FailoverPair, MemoryFailover
from holdfast.testing.memory_mirror import MemoryMirrors
from holdfast.testing.memory_pair import Pair
from holdfast.testing.memory_share import MemoryNfs, MemorySmb
from holdfast.testing.memory_target import MemoryTargets
from holdfast.testing.memory_volume import MemoryVolumes
from holdfast.testing.ports import free_port

WAIT_S = 20
TURNS = 100  # of a loop, however long each takes on a busy machine: time alone says nothing of how many there were
# An address of this process: a port that is free there stays so until it is taken, whatever other tests do meanwhile.
LOOPBACK = f"127.{os.getpid() // 254 % 254 + 1}.{os.getpid() % 254 + 1}.1"
ENDED = ("done", "undone", "failed", "cancelled")


class NoSettings(Schema):
    """A plugin without settings."""

    @post_load
    def make(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        return data


@dataclass
class World:
    """What both nodes' mechanisms have in common: the wires between them."""

    mirrors: Pair = field(default_factory=Pair)
    copies: MemoryNetwork = field(default_factory=MemoryNetwork)
    failover: FailoverPair = field(default_factory=FailoverPair)


class _Mirrors(MemoryMirrors):
    """Mirrors over whatever volumes the node has."""

    def __init__(self, node: Node, volumes: MemoryVolumes) -> None:
        super().__init__(node)
        self._volumes = volumes

    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        mounted = {mount.device for mount in self._volumes.mounts.values()}
        for volume in spec.volumes:
            if volume.device in mounted:
                raise BusyError(f"{volume.device} is mounted")
            self._volumes.above[self.device_path(volume.minor)] = volume.device
        return await super().attach(spec)

    def _media(self, device: str) -> Media:
        for volume in self._volumes.volumes.values():
            if volume.device == device and device not in self.node.media:
                self.add_device(device, volume.size_bytes)
        return super()._media(device)


class _Volumes(MemoryVolumes):
    """Volumes whose growth a mirror above them can take up."""

    def __init__(self, content: Path, node: Node) -> None:
        super().__init__(content)
        self._node = node

    async def grow_volume(self, pool: str, name: str, size_bytes: int) -> Volume:
        volume = await super().grow_volume(pool, name, size_bytes)
        if media := self._node.media.get(volume.device):
            media.data.extend(bytes(volume.size_bytes - len(media.data)))
        return volume


class _Smb(MemorySmb):
    """SMB over volumes whose mounts are symbolic links."""

    def check_path(self, path: str) -> None:
        super().check_path(os.path.realpath(path))


class _Nfs(MemoryNfs):
    """NFS over the same."""

    def check_path(self, path: str) -> None:
        super().check_path(os.path.realpath(path))


async def nothing_missing(settings: Any, host: Host) -> tuple[Missing, ...]:
    return ()


def offer_of(name: str, driver: Driver) -> Offer[Any]:
    """An offer whose opener gives a driver that exists already."""

    async def open_it(settings: Any, host: Host) -> Driver:
        return driver

    return Offer(name, CONTRACT, NoSettings, nothing_missing, open_it)


class Mechanisms:
    """One node's plugin for every role, its drivers in a test's hands."""

    def __init__(self, world: World, node: str, directory: Path) -> None:
        def plan() -> MonitorPlan:
            found = read_plan(directory / "state")
            assert found is not None
            return found.plan

        self.volumes = _Volumes(directory / "content", world.mirrors.nodes[node])
        self.copies = MemoryCopyDriver(world.copies)
        self.mirrors = _Mirrors(world.mirrors.nodes[node], self.volumes)
        self.targets = MemoryTargets(lambda device: True)
        self.smb, self.nfs = _Smb(), _Nfs()
        self.failover = MemoryFailover(world.failover, node, plan)

    @hookimpl
    def volume_driver(self) -> Offer[VolumeDriver]:
        return offer_of("memory-volumes", self.volumes)

    @hookimpl
    def copy_driver(self) -> Offer[CopyDriver]:
        return offer_of("memory-copies", self.copies)

    @hookimpl
    def mirror_driver(self) -> Offer[MirrorDriver]:
        return offer_of("memory-mirrors", self.mirrors)

    @hookimpl
    def target_driver(self) -> Offer[TargetDriver]:
        return offer_of("memory-targets", self.targets)

    @hookimpl
    def smb_driver(self) -> Offer[SmbDriver]:
        return offer_of("memory-smb", self.smb)

    @hookimpl
    def nfs_driver(self) -> Offer[NfsDriver]:
        return offer_of("memory-nfs", self.nfs)

    @hookimpl
    def failover_driver(self) -> Offer[FailoverDriver]:
        return offer_of("memory-failover", self.failover)


class Refused(Exception):
    """A problem, or a job that did not end well."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        super().__init__(f"{status}: {problem}")


class Appliance:
    """One running daemon, and its API as a client has it."""

    def __init__(self, config: Config, system: System, mechanisms: Mechanisms | None) -> None:
        self.config = config
        self.system = system
        self._mechanisms = mechanisms
        context = ssl.create_default_context(cadata=system.partner.identity.certificate_path.read_text())
        context.check_hostname = False
        token = (config.state_dir / "token").read_text().strip()
        self.http = aiohttp.ClientSession(
            f"https://{config.api.address}:{config.api.port}",
            connector=aiohttp.TCPConnector(ssl=context),
            headers={"Authorization": f"Bearer {token}"},
        )

    @property
    def mechanisms(self) -> Mechanisms:
        """The models below this daemon."""
        assert self._mechanisms is not None
        return self._mechanisms

    async def call(self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Any:
        """Send a document; the answer's document. Raises Refused."""
        async with self.http.request(method, path, json=body, headers=headers) as answer:
            document = await answer.json(content_type=None)
            if answer.status >= 400:
                raise Refused(answer.status, document)
            return document

    async def get(self, path: str) -> Any:
        """What is there."""
        return await self.call("GET", path)

    async def items(self, path: str) -> list[Any]:
        """The first page of a list."""
        found: list[Any] = (await self.get(path))["items"]
        return found

    async def change(self, method: str, path: str, body: Any = None) -> Any:
        """Change something and wait for the job's end; its document. Raises Refused."""
        sent = None if method == "DELETE" else body or {}
        job = await self.call(method, path, sent, headers={"Prefer": f"wait={WAIT_S}"})
        if job["state"] != "done":
            assert job["state"] in ENDED, job
            raise Refused(200, job["error"] or {})
        return job


class SetClock(SystemClock):
    """This machine's clock, its wall clock as much ahead as a test has set it, or after more time than has passed."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._passed = timedelta()

    def let_pass(self, time: timedelta) -> None:
        """As if so much time had passed."""
        self.ahead += time
        self._passed += time

    def boot_s(self) -> float:
        return super().boot_s() + self._passed.total_seconds()

    def now(self) -> datetime:
        return super().now() + self.ahead


def _connected(ports: set[int]) -> list[asyncio.WriteTransport]:
    """What is still connected to daemons of this process, by the ports on which they were."""
    transports: Mapping[int, asyncio.BaseTransport] = vars(asyncio.get_running_loop())["_transports"]
    found = []
    for transport in list(transports.values()):
        name = transport.get_extra_info("sockname")
        here = isinstance(name, tuple) and name[0] == LOOPBACK and name[1] in ports
        if here and isinstance(transport, asyncio.WriteTransport):
            found.append(transport)
    return found


async def cut_off(ports: set[int]) -> None:
    """Close what is still connected to daemons that have ended: for a process that ends the kernel does that.

    A connection may have been accepted and be none yet, for neither end: the loop makes it one as it turns, and is
    let turn until it has made none for a while.
    """
    quiet, aborted = 0, list[asyncio.WriteTransport]()
    while quiet < TURNS:
        new = [transport for transport in _connected(ports) if transport not in aborted]
        for transport in new:
            transport.abort()
        aborted += new
        quiet = 0 if new else quiet + 1
        await asyncio.sleep(0)


def no_commands(clock: Clock) -> Outside:
    """A machine on which every command fails the test: the models need none."""
    return Outside(ScriptedCommands(lambda argv, data: None), KernelFs(), clock)


@contextlib.asynccontextmanager
async def running(
    node: str,
    directory: Path,
    found: Sequence[Found],
    mechanisms: Mechanisms | None = None,
    *,
    settings: Mapping[str, PluginSettings] | None = None,
    observe_step: StepObserver | None = None,
    ports: Sequence[int] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Appliance]:
    """A daemon that answers, with the plugins that were found and their sections of the settings file."""
    api, peer, pairing = ports or (free_port(LOOPBACK) for _ in range(3))
    config = Config(
        node,
        state_dir=directory / "state",
        run_dir=directory / "run",
        mount_dir=directory / "mounts",
        api=ApiSettings(LOOPBACK, api),
        peer=PeerSettings(LOOPBACK, peer, pairing, replication_address=LOOPBACK),
        plugins=settings or {},
    )
    composed = compose(config, no_commands(clock or SystemClock()), plugins=tuple(found), observe_step=observe_step)
    try:
        async with composed as system, serve(system):
            appliance = Appliance(config, system, mechanisms)
            async with appliance.http:
                yield appliance
    finally:
        await cut_off({api, peer, pairing})


@contextlib.asynccontextmanager
async def running_model(
    world: World, node: str, directory: Path, *, observe_step: StepObserver | None = None
) -> AsyncIterator[Appliance]:
    """A daemon over the reference drivers."""
    mechanisms = Mechanisms(world, node, directory)
    plugins = (Found("memory", None, None, mechanisms, None),)
    async with running(node, directory, plugins, mechanisms, observe_step=observe_step) as appliance:
        yield appliance


async def pair(a: Appliance, b: Appliance) -> None:
    """Make two nodes a pair, by the one-time code."""
    offer = await a.call("POST", "/v1/pairing/offer", {})
    where = {"address": LOOPBACK, "port": offer["port"], "code": offer["code"]}
    await b.call("POST", "/v1/pairing/join", where)
