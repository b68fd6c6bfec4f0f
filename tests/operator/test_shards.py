"""Whole operators that each serve a shard, before one API server: what each touches, and what not.

They are processes, since the end of Kopf cancels whatever runs beside it in its loop.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from taskqueue_api.names import FINALIZER
from taskqueue_operator.domain.sharding import find_shard
from tests.operator.builders import build_task, build_taskqueue
from tests.operator.small_cluster import SmallCluster, Write, write_kubeconfig

NAMESPACE = "shop"
SIDES = {1: "north", 2: "south"}
"""What the names of all that belongs to a shard begin with."""

SECONDS = 30.0

PROGRAM = """
import functools, sys
from taskqueue_operator import __main__, web
web.serve = functools.partial(web.serve, port=0)
sys.exit(__main__.main(sys.argv[1:]))
"""

Start = Callable[..., Any]


def name_in(shard: int, what: str) -> str:
    """Return the name of a TaskQueue that belongs to one of two shards."""
    names = (f"{SIDES[shard]}-{what}-{number}" for number in range(100))
    return next(name for name in names if find_shard(NAMESPACE, name, 2) == shard)


def queue_named(name: str, **metadata: Any) -> dict[str, Any]:
    """Return a TaskQueue."""
    names = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}"}
    return build_taskqueue(metadata={**names, **metadata})


def task_of(queue: str, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a Task."""
    name = f"{queue}-task"
    return build_task(name, uid=f"uid-{name}", spec={"queue": queue, **spec}, status=status)


def fill(cluster: SmallCluster, shard: int) -> None:
    """Put there one of each that an operator has something to do about."""
    ended = {"phase": "Failed", "completionTime": "2026-01-01T00:00:00Z"}
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    cluster.add(queue_named(name_in(shard, "plain")))
    cluster.add(queue_named(name_in(shard, "kept"), finalizers=[FINALIZER]))
    cluster.add(queue_named(name_in(shard, "leaving"), finalizers=[FINALIZER], **leaving))
    cluster.add(task_of(name_in(shard, "orphan")))
    cluster.add(task_of(name_in(shard, "again"), {**ended, "run": 0}, rerun=1))
    cluster.add(task_of(name_in(shard, "expired"), ended, ttlAfterFinished="1s"))


class Deed(NamedTuple):
    """A write that is to be seen. end: of the path. text: part of the body."""

    method: str
    end: str
    text: str = ""

    def is_done(self, writes: list[Write]) -> bool:
        """Return whether it is among these writes."""
        return any(
            one.method == self.method and one.path.endswith(self.end) and self.text in one.text
            for one in writes
        )


def expected(shard: int) -> list[Deed]:
    """Return what there is to do about what `fill` has put there."""
    return [
        Deed("PATCH", f"/taskqueues/{name_in(shard, 'plain')}", "finalizers"),
        Deed("PATCH", f"/taskqueues/{name_in(shard, 'kept')}/status", "SecretNotFound"),
        Deed("DELETE", f"/deployments/tq-{name_in(shard, 'leaving')}"),
        Deed("PATCH", f"/taskqueues/{name_in(shard, 'leaving')}", "finalizers"),
        Deed("PATCH", f"/tasks/{name_in(shard, 'orphan')}-task/status", "QueueNotFound"),
        Deed("PATCH", f"/tasks/{name_in(shard, 'again')}-task/status", "Pending"),
        Deed("DELETE", f"/tasks/{name_in(shard, 'expired')}-task"),
    ]


async def wait_done(cluster: SmallCluster, *deeds: Deed) -> None:
    """Wait until all is done."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while left := [deed for deed in deeds if not deed.is_done(cluster.writes)]:
        assert asyncio.get_running_loop().time() < deadline, left
        await asyncio.sleep(0.05)


@pytest.fixture
async def cluster() -> AsyncIterator[SmallCluster]:
    """Give an API server."""
    small = SmallCluster()
    server = web.Application()
    server.router.add_route("*", "/{path:.*}", small.handle)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    small.url = f"http://{host}:{port}"
    yield small
    await runner.cleanup()


@pytest.fixture
async def start(cluster: SmallCluster, tmp_path: Path) -> AsyncIterator[Start]:
    """Give a function that starts an operator; at the end each must stop cleanly."""
    running: list[asyncio.subprocess.Process] = []

    async def run(name: str, *arguments: str) -> None:
        config = tmp_path / name
        config.write_text(write_kubeconfig(cluster.url, name))
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("TASKQUEUE_")},
            "KUBECONFIG": str(config),
            "TASKQUEUE_WORKER_IMAGE": "example.org/worker:1",
        }
        running.append(
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, *arguments, env=environment
            )
        )

    yield run
    for process in running:
        process.terminate()
    codes = [await asyncio.wait_for(process.wait(), SECONDS) for process in running]
    assert codes == [0] * len(running)


async def test_each_of_two_shards_does_all_of_its_own_and_writes_nothing_elsewhere(
    cluster: SmallCluster, start: Start
) -> None:
    for shard, side in SIDES.items():
        fill(cluster, shard)
        await start(side, "--shard", f"{shard}/2")
    await wait_done(cluster, *expected(1), *expected(2))
    # What comes later comes by the watch, not by the list.
    for shard in SIDES:
        cluster.add(task_of(name_in(shard, "later")))
        cluster.add(queue_named(name_in(shard, "new")))
    for shard in SIDES:
        task, queue = f"{name_in(shard, 'later')}-task", name_in(shard, "new")
        told = Deed("PATCH", f"/tasks/{task}/status", "QueueNotFound")
        await wait_done(cluster, told, Deed("PATCH", f"/taskqueues/{queue}", "finalizers"))
    assert [one for one in cluster.writes if named(one) != [one.by]] == []
    assert cluster.leases == {
        ("north", "taskqueue-operator-shard-1-of-2"),
        ("south", "taskqueue-operator-shard-2-of-2"),
    }


def named(write: Write) -> list[str]:
    """Return the shards whose names a write holds, by their sides."""
    return [one for one in SIDES.values() if f"{one}-" in write.path + write.text]


async def test_without_a_shard_everything_is_done(cluster: SmallCluster, start: Start) -> None:
    for shard in SIDES:
        fill(cluster, shard)
    await start("whole")
    await wait_done(cluster, *expected(1), *expected(2))
    assert cluster.leases == {("whole", "taskqueue-operator")}
