"""How long one Task takes on a warm worker: from its create to seeing it Succeeded.

`python -m bench.latency NAMESPACE QUEUE [COUNT]`, with KUBECONFIG set. One Task at a time; times
include the create request and the watch event that shows the end. Prints milliseconds.
"""

import asyncio
import statistics
import sys
import time
from typing import Any

from kubernetes.aio import client, config, watch

from taskqueue_api.names import GROUP, TASKS, VERSION

WARM_UP = 20


async def measure(namespace: str, queue: str, count: int) -> list[float]:
    """Return the seconds that each of `count` Tasks took, after some to warm up."""
    await config.load_kube_config()
    async with client.ApiClient() as api:
        objects = client.CustomObjectsApi(api)
        finished: asyncio.Queue[str] = asyncio.Queue()
        watching = asyncio.create_task(_watch(objects, namespace, finished))
        seconds = []
        for number in range(WARM_UP + count):
            begun = time.perf_counter()
            task: Any = await objects.create_namespaced_custom_object(
                GROUP, VERSION, namespace, TASKS, _task(queue)
            )
            while await finished.get() != task["metadata"]["uid"]:
                pass
            if number >= WARM_UP:
                seconds.append(time.perf_counter() - begun)
        watching.cancel()
        return seconds


async def _watch(
    objects: client.CustomObjectsApi, namespace: str, finished: "asyncio.Queue[str]"
) -> None:
    stream = watch.Watch().stream(
        objects.list_namespaced_custom_object,
        GROUP,
        VERSION,
        namespace,
        TASKS,
        field_selector="status.phase=Succeeded",
    )
    async for event in stream:
        shown: Any = event
        await finished.put(shown["object"]["metadata"]["uid"])


def _task(queue: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Task",
        "metadata": {"generateName": "latency-"},
        "spec": {"queue": queue, "handler": "echo", "payload": {"hello": "world"}},
    }


def main() -> int:
    """Measure and print."""
    namespace, queue = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    seconds = asyncio.run(measure(namespace, queue, count))
    percentiles = statistics.quantiles(seconds, n=100)
    print(
        f"{count} Tasks, one at a time: p50 {percentiles[49] * 1000:.1f} ms, "
        f"p95 {percentiles[94] * 1000:.1f} ms, p99 {percentiles[98] * 1000:.1f} ms"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
