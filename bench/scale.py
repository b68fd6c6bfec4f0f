"""What the operator costs as the cluster fills: finished Tasks, and TaskQueues at rest."""

import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import Readings
from bench.limit import outcome_patch
from bench.machine import cpu_seconds, memory_of
from bench.stage import Stage, queue_with, task_body
from bench.tasks import SPEC, SUCCEEDED
from e2e.kubectl import wait_for
from taskqueue_api.names import GROUP

QUEUE = "scale"
TASKS = (1_000, 10_000, 50_000)
TASKQUEUES = (1, 100, 500)
_SAMPLE = 1000
_SECONDS = 900.0
_REST_SECONDS = 60.0
_MEGABYTE = 1e6


def measure_tasks(stage: Stage, readings: Readings) -> None:
    """Take one run over ever more finished Tasks: a restart of the operator, and new Tasks."""
    stage.start_queue(QUEUE, **SPEC)
    there = 0
    for count in TASKS:
        _fill(stage, f"old-{count}-", count - there)
        name = f"with_{count}_tasks"
        first, settled = _restart(stage, count + 1)
        readings.add(f"start_to_first_task_{name}", "s", first)
        readings.add(f"start_to_settled_{name}", "s", settled)
        readings.add(f"operator_memory_{name}", "MB", _memory())
        readings.add(f"operator_memory_peak_{name}", "MB", _peak())
        done = stage.client.run(
            stage.tasks, task_body(QUEUE, "noop"), f"new-{count}-", _SAMPLE, awaited=SUCCEEDED
        )
        readings.add(f"tasks_{name}", "1/s", done.rate)
        there = count + 1 + _SAMPLE
    stage.remove_queue(QUEUE)
    stage.remove_tasks(stage.tasks)


def measure_queues(stage: Stage, readings: Readings) -> None:
    """Take one run over ever more TaskQueues at rest."""
    there = 0
    for count in TASKQUEUES:
        begun, before = time.monotonic(), cpu_seconds()["operator"]
        for number in range(there, count):
            queue = queue_with(f"rest-{number}", 4, scaled=True)
            stage.apply(queue)
        _wait(stage, lambda count=count: _idle(stage) == count)  # type: ignore[misc]
        name = f"with_{count}_queues"
        made = count - there
        used = cpu_seconds()["operator"] - before
        readings.add(f"seconds_per_queue_to_ready_{name}", "s", (time.monotonic() - begun) / made)
        readings.add(f"operator_cpu_per_new_queue_{name}", "ms", used / made * 1000)
        readings.add(f"operator_memory_{name}", "MB", _memory())
        before = cpu_seconds()["operator"]
        time.sleep(_REST_SECONDS)  # what is measured is how little happens meanwhile
        used = cpu_seconds()["operator"] - before
        readings.add(f"operator_cpu_at_rest_{name}", "% of a core", used / _REST_SECONDS * 100)
        there = count
    stage.kubectl.run("delete", "taskqueues.taskqueue.dev", "--all", "--timeout=10m")


def _fill(stage: Stage, prefix: str, count: int) -> None:
    """Create finished Tasks, of a queue that nobody looks at until then."""
    body = task_body(QUEUE, "noop", {"hello": "world"}, group=GROUP)
    stage.system.scale_operator(0)
    stage.client.run(stage.tasks, body, prefix, count, patch=outcome_patch(), patches=1)


def _restart(stage: Stage, expected: int) -> tuple[float, float]:
    """Start the operator; return the seconds to a waiting Task's end, and to all being counted."""
    stage.api.create({**task_body(QUEUE, "noop"), "metadata": _metadata(stage, expected)})
    stage.system.kubectl.run("scale", "deployment", "taskqueue-operator", "--replicas=1")
    _wait(stage, lambda: bool(memory_of("operator")))
    begun = time.monotonic()
    name = _metadata(stage, expected)["name"]
    _wait(stage, lambda: _phase(stage, name) == "Succeeded")
    first = time.monotonic() - begun
    _wait(stage, lambda: _counted(stage) == expected)
    return first, time.monotonic() - begun


def _metadata(stage: Stage, number: int) -> dict[str, str]:
    return {"name": f"waiting-{number}", "namespace": stage.namespace}


def _phase(stage: Stage, name: str) -> str:
    return str(stage.api.get("Task", stage.namespace, name)["status"]["phase"])


def _counted(stage: Stage) -> int:
    status = stage.api.get("TaskQueue", stage.namespace, QUEUE).get("status", {})
    return int(status.get("tasks", {}).get("succeeded", 0))


def _idle(stage: Stage) -> int:
    """Return how many TaskQueues are ready and at rest."""
    found = 0
    for queue in stage.api.list("TaskQueue", stage.namespace):
        conditions = {one["type"]: one for one in queue.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", {}).get("status") == "True"
        found += ready and conditions.get("Scaling", {}).get("reason") == "Idle"
    return found


def _memory() -> float:
    return memory_of("operator")[0].memory / _MEGABYTE


def _peak() -> float:
    """Return the most memory that the operator had."""
    status = Path(f"/proc/{memory_of('operator')[0].pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / _MEGABYTE


def _wait(stage: Stage, condition: Callable[[], bool]) -> None:
    wait_for(condition, timeout_seconds=_SECONDS, describe=stage.kubectl.diagnose)
