"""What is called dead, and how an operator lives that does not lead."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from taskqueue_operator import app, web
from taskqueue_operator.app import find_dead, find_unwatched
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.errors import LeaseLostError
from taskqueue_operator.settings import Settings
from tests.operator.leases import LeaseClient, LeaseServer


async def test_a_watch_that_has_ended_is_a_fault() -> None:
    # The names are Kopf's own, as on a real cluster.
    queues, tasks = (
        asyncio.create_task(
            asyncio.Event().wait(), name=f"watcher for {plural}.v1beta1.taskqueue.dev@None"
        )
        for plural in ("taskqueues", "tasks")
    )
    assert find_unwatched() == []
    tasks.cancel()
    await asyncio.wait([tasks])
    assert find_unwatched() == ["tasks are not watched"]
    queues.cancel()


async def test_a_loop_of_our_own_that_has_ended_is_a_fault() -> None:
    ended = asyncio.create_task(asyncio.sleep(0), name="status writer")
    await ended
    assert find_dead([ended]) == ["the status writer is dead"]


async def ask(port: int, path: str) -> tuple[int, str]:
    """Return status and text."""
    async with aiohttp.ClientSession() as session:
        response = await session.get(f"http://127.0.0.1:{port}{path}")
        return response.status, await response.text()


async def test_a_standby_is_alive_and_ready_and_ends_when_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, ports = LeaseServer(), asyncio.Queue[int]()
    server.put(
        {"metadata": {}, "spec": {"holderIdentity": "another", "leaseDurationSeconds": 10}},
        create=True,
    )

    async def connect(**_: int) -> ClusterClient:
        return LeaseClient(server)

    async def serve(dead: web.Faults, missing: web.Faults, ready: Callable[[], bool]) -> Any:
        runner = await web.serve(dead, missing, ready, port=0)
        ports.put_nowait(next(int(one[1]) for one in runner.addresses if len(one) == 2))
        return runner

    monkeypatch.setattr(ClusterClient, "connect", connect)
    monkeypatch.setattr(app, "web", type("Web", (), {"serve": staticmethod(serve)}))
    running = asyncio.create_task(app.run(Settings(worker_image="example.org/worker:1")))
    port = await ports.get()
    assert await ask(port, "/livez") == (200, "ok")
    # By then it has read the Lease.
    assert await ask(port, "/readyz") == (200, "ok")
    assert "taskqueue_leader 0.0" in (await ask(port, "/metrics"))[1]
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert server.holder == "another"
    assert server.writes == 1


async def test_an_operator_that_has_lost_the_lease_ends_without_a_further_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    monkeypatch.setattr("logging.shutdown", lambda: None)

    async def lose() -> None:
        raise LeaseLostError("'another' holds it")

    keeping = asyncio.create_task(lose())
    await asyncio.wait([keeping])
    app.end_at_once(keeping)
    assert codes == [app.LOST_EXIT_CODE]
    assert "ending at once: the Lease is lost: 'another' holds it" in caplog.text
