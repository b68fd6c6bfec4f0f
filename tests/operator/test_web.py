"""Health, readiness and metrics."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web as aiohttp_web

from taskqueue_operator import metrics, web
from taskqueue_operator.errors import OperatorError


class World:
    """A server whose health can be set."""

    def __init__(self) -> None:
        self.dead: list[str] = []
        self.missing: list[str] = []
        self.ready = False
        self.runner: aiohttp_web.AppRunner

    @property
    def port(self) -> int:
        """Where it listens on IPv4: with port 0 each family gets another."""
        return next(int(address[1]) for address in self.runner.addresses if len(address) == 2)

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and text."""
        async with aiohttp.ClientSession() as session:
            response = await session.get(f"http://127.0.0.1:{self.port}{path}")
            return response.status, await response.text()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.runner = await web.serve(
        lambda: world.dead, lambda: world.missing, lambda: world.ready, port=0
    )
    yield world
    await world.runner.cleanup()


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
async def test_what_is_dead_is_named(world: World, path: str) -> None:
    assert await world.get(path) == (200, "ok")
    world.dead = ["the task writer is dead", "tasks are not watched"]
    assert await world.get(path) == (503, "the task writer is dead\ntasks are not watched")


async def test_what_no_restart_can_cure_is_no_reason_for_one(world: World) -> None:
    world.missing = ["tasks are not defined"]
    assert await world.get("/livez") == (200, "ok")
    assert await world.get("/healthz") == (503, "tasks are not defined")
    assert await world.get("/readyz") == (503, "tasks are not defined")


async def test_readyz_waits_for_the_start(world: World) -> None:
    assert await world.get("/readyz") == (503, "starting")
    world.ready = True
    assert await world.get("/readyz") == (200, "ok")


async def test_metrics_are_ours(world: World) -> None:
    metrics.RECONCILES.labels("OfThisTest").inc()
    status, text = await world.get("/metrics")
    assert status == 200
    assert 'taskqueue_reconciles_total{result="OfThisTest"} 1.0' in text


async def test_a_port_that_is_taken_is_said_so(world: World) -> None:
    with pytest.raises(OperatorError, match=f"port {world.port} for metrics and health is taken"):
        await web.serve(list, list, lambda: True, port=world.port)
