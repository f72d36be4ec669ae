"""A daemon that starts beside a monitor that does not do as it should."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from holdfast.errors import RefusedError
from holdfast.loading.discovery import Found
from holdfast.testing.ports import free_port
from tests.composed.appliance import LOOPBACK, WAIT_S, Appliance, Mechanisms, World, pair, running, running_model


@contextlib.asynccontextmanager
async def node_a(world: World, directory: Path, *, ports: tuple[int, int, int]) -> AsyncIterator[Appliance]:
    """Node a over its models, on ports that are known before it runs."""
    mechanisms = Mechanisms(world, "a", directory)
    plugins = (Found("memory", None, None, mechanisms, None),)
    async with running("a", directory, plugins, mechanisms, ports=ports) as appliance:
        yield appliance


@pytest.fixture
async def paired(tmp_path: Path) -> tuple[World, Path, tuple[int, int, int]]:
    """Node a, paired and stopped: its world, its directory and its ports."""
    world = World()
    ports = (free_port(LOOPBACK), free_port(LOOPBACK), free_port(LOOPBACK))
    async with node_a(world, tmp_path / "a", ports=ports) as a, running_model(world, "b", tmp_path / "b") as b:
        await pair(a, b)
    return world, tmp_path / "a", ports


async def test_it_answers_while_the_monitor_does_not(
    paired: tuple[World, Path, tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, directory, ports = paired
    asked, answers = asyncio.Event(), asyncio.Event()

    async def hangs(_: object) -> None:
        asked.set()
        await answers.wait()

    monkeypatch.setattr("holdfast.testing.memory_failover.MemoryFailover.plan_written", hangs)
    stops = asyncio.Event()

    async def run() -> None:
        async with node_a(world, directory, ports=ports):
            await stops.wait()

    daemon = asyncio.create_task(run())
    async with asyncio.timeout(WAIT_S):
        await asked.wait()
    token = (directory / "state" / "token").read_text().strip()
    context = ssl.create_default_context(cafile=str(directory / "state" / "tls" / "certificate.pem"))
    context.check_hostname = False
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http,
        http.get(f"https://{LOOPBACK}:{ports[0]}/v1/node", ssl=context) as answer,
    ):
        assert answer.status == 200
        assert (await answer.json())["partner"]["node"] == "b"
    answers.set()
    stops.set()
    await daemon


async def test_it_starts_though_the_monitor_refuses_its_plan(
    paired: tuple[World, Path, tuple[int, int, int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world, directory, ports = paired

    async def refuses(_: object) -> None:
        raise RefusedError("the monitor failed: KeyError")

    monkeypatch.setattr("holdfast.testing.memory_failover.MemoryFailover.plan_written", refuses)
    async with node_a(world, directory, ports=ports) as a:
        assert (await a.get("/v1/node"))["node"] == "a"
    assert "the monitor has no plan with b: the monitor failed: KeyError" in caplog.text


async def test_a_stranger_who_says_nothing_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.__main__.HANDSHAKE_S", 0.1)
    async with running_model(World(), "a", tmp_path / "a") as a:
        reader, writer = await asyncio.open_connection(a.config.api.address, a.config.api.port)
        async with asyncio.timeout(WAIT_S):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
