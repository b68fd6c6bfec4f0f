"""How fast workers follow the backlog.

`python -m bench.reaction NAMESPACE [RUNS]`, with KUBECONFIG set, as after `make demo`. Creates a
TaskQueue `reaction` whose Tasks take a second. Prints the seconds from the creation of a Task until
the Deployment had asked for a pod, and until the Task had succeeded; and those that 300 Tasks took
from none to 5 workers of 4 slots. The pods' start is included.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from kubernetes.aio import client, config

from taskqueue_api.names import GROUP, QUEUE_LABEL, TASKQUEUES, TASKS, VERSION

QUEUE = "reaction"
PODS, SLOTS, BURST = 5, 4, 300
POLL_SECONDS = 0.01


def build_queue() -> dict[str, Any]:
    """Return the TaskQueue."""
    scaling = {
        "maxReplicas": PODS,
        "scaleDown": {"stabilization": "1s"},
        "idleBeforeZero": "1s",
    }
    handlers = {"exec": {"command": ["sh", "-c", "sleep 1; echo 1"]}}
    workers = {"concurrency": SLOTS, "handlers": handlers, "scaling": scaling}
    metadata = {"name": QUEUE}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TaskQueue",
        "metadata": metadata,
        "spec": {"workers": workers, "history": {"succeeded": "10s"}},
    }


class Bench:
    """One namespace of a cluster."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.objects = client.CustomObjectsApi(api)
        self.apps = client.AppsV1Api(api)
        self.core = client.CoreV1Api(api)
        self.place = (GROUP, VERSION, namespace)
        self.namespace = namespace

    async def create(self, count: int) -> list[str]:
        """Create Tasks, eight at a time; return their names."""
        turns = asyncio.Semaphore(8)

        async def one() -> str:
            body = {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "Task",
                "metadata": {"generateName": f"{QUEUE}-"},
                "spec": {"queue": QUEUE, "handler": "sleep"},
            }
            async with turns:
                made: Any = await self.objects.create_namespaced_custom_object(
                    *self.place, TASKS, body
                )
            return str(made["metadata"]["name"])

        return await asyncio.gather(*(one() for _ in range(count)))

    async def unfinished(self) -> int:
        """Return how many Tasks have not succeeded."""
        selector = f"spec.queue={QUEUE},status.phase!=Succeeded"
        found: Any = await self.objects.list_namespaced_custom_object(
            *self.place, TASKS, field_selector=selector
        )
        return len(found["items"])

    async def replicas(self) -> int:
        """Return how many pods the Deployment asks for."""
        found: Any = await self.apps.read_namespaced_deployment(f"tq-{QUEUE}", self.namespace)
        return int(found.spec.replicas)

    async def has_none(self) -> bool:
        """Return whether the Deployment asks for no pod, and none is left that could take work."""
        if await self.replicas():
            return False
        selector = f"{QUEUE_LABEL}={QUEUE}"
        pods: Any = await self.core.list_namespaced_pod(self.namespace, label_selector=selector)
        return not pods.items

    async def has_some(self) -> bool:
        """Return whether the Deployment asks for a pod."""
        return await self.replicas() > 0

    async def is_done(self) -> bool:
        """Return whether all Tasks have succeeded."""
        return await self.unfinished() == 0

    async def wait_idle(self) -> float:
        """Wait until no pod is left; return the seconds."""
        begun = time.perf_counter()
        await until(self.has_none)
        return time.perf_counter() - begun


async def until(
    condition: Callable[[], Awaitable[bool]], pause_seconds: float = POLL_SECONDS
) -> None:
    """Wait until something is true."""
    while True:
        if await condition():
            return
        await asyncio.sleep(pause_seconds)


async def measure(namespace: str, runs: int) -> None:
    """Measure and print."""
    await config.load_kube_config()
    async with client.ApiClient() as api:
        bench = Bench(api, namespace)
        await bench.objects.create_namespaced_custom_object(*bench.place, TASKQUEUES, build_queue())
        await asyncio.sleep(10)
        asked, done = [], []
        for _ in range(runs):
            await bench.wait_idle()
            begun = time.perf_counter()
            await bench.create(1)
            await until(bench.has_some)
            asked.append(time.perf_counter() - begun)
            await until(bench.is_done)
            done.append(time.perf_counter() - begun)
        tell("0 -> 1: create to a pod asked for", asked)
        tell("0 -> 1: create to the first Task of 1 s done", done)
        await bench.wait_idle()
        begun = time.perf_counter()
        await bench.create(BURST)
        created = time.perf_counter() - begun
        await until(bench.is_done, 0.2)
        took, ideal = time.perf_counter() - begun, BURST / (PODS * SLOTS)
        print(
            f"{BURST} Tasks of 1 s from none to {PODS} x {SLOTS} slots: {took:.1f} s, "
            f"{took / ideal:.2f} x the ideal of {ideal:.0f} s; created in {created:.1f} s"
        )
        print(f"{PODS} -> 0 after the last Task: {await bench.wait_idle():.1f} s")
        await bench.objects.delete_namespaced_custom_object(*bench.place, TASKQUEUES, QUEUE)


def tell(what: str, seconds: list[float]) -> None:
    """Print the middle and the worst of some times."""
    worst = statistics.quantiles(seconds, n=20)[18] if len(seconds) > 1 else seconds[0]
    print(f"{what}: p50 {statistics.median(seconds):.3f} s, p95 {worst:.3f} s, {len(seconds)} runs")


def main() -> int:
    """Measure and print."""
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    asyncio.run(measure(sys.argv[1], runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
