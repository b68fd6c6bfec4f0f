"""What the operator costs as the cluster fills: finished Tasks, and TaskQueues at rest."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bench.figures import Readings
from bench.limit import outcome_patch
from bench.machine import Process, cpu_seconds, memory_of, moment_of_start, peak_bytes
from bench.stage import Stage, queue_with, task_body
from bench.tasks import SPEC, SUCCEEDED, cpu_per_task
from e2e.kubectl import WaitTimeoutError, wait_for
from e2e.system import OPERATOR
from taskqueue_api.conditions import rfc3339

QUEUE = "scale"
TASKS = (1_000, 10_000, 50_000)
TASKQUEUES = (1, 100, 500)
_SAMPLE = 3000
_WARM = 100
# What the client gives up after is far from what so many take.
_FILLED_AT_ONCE = 10_000
_SECONDS = 900.0
_REST_SECONDS = 60.0
_PROBE_SECONDS = 0.25
_MEGABYTE = 1e6


def measure_tasks(stage: Stage, readings: Readings) -> None:
    """Take one run over ever more finished Tasks: a restart of the operator, and new Tasks."""
    stage.start_queue(QUEUE, **SPEC)
    there = 0
    for count in TASKS:
        name = f"with_{count}_tasks"
        _fill(stage, f"old-{count}", count - there)
        there = count + _measure_restart(stage, readings, name, count)
        _measure_flow(stage, readings, name)
        there += _WARM + _SAMPLE
    stage.remove_queue(QUEUE)
    # Without the operator, for which each deletion is an event. The next one starts afresh.
    stage.system.scale_operator(0)
    begun = time.monotonic()
    stage.remove_tasks(stage.tasks)
    readings.add(f"delete_{TASKS[-1]}_tasks", "s", time.monotonic() - begun)
    stage.system.scale_operator(1)


def measure_queues(stage: Stage, readings: Readings) -> None:
    """Take one run over ever more TaskQueues at rest."""
    there = 0
    for count in TASKQUEUES:
        name = f"with_{count}_queues"
        reconciled = _reconciled(stage)
        _measure_new_queues(stage, readings, name, range(there, count))
        _wait_all(stage, [f"rest-{number}" for number in range(there, count)], is_idle)
        mean = mean_between(reconciled, _reconciled(stage))
        readings.add(f"reconcile_mean_{name}", "ms", mean * 1000)
        readings.add(f"operator_memory_{name}", "MB", _operator().memory / _MEGABYTE)
        before = cpu_seconds()["operator"]
        time.sleep(_REST_SECONDS)  # what is measured is how little happens meanwhile
        used = cpu_seconds()["operator"] - before
        readings.add(f"operator_cpu_at_rest_{name}", "% of a core", used / _REST_SECONDS * 100)
        there = count
    begun = time.monotonic()
    arguments = ("taskqueues.taskqueue.dev", "--all", f"--timeout={_SECONDS:.0f}s")
    stage.kubectl.run("delete", *arguments, timeout_seconds=_SECONDS + 1)
    readings.add(f"delete_{there}_queues", "s", time.monotonic() - begun)


def is_ready(queue: Mapping[str, Any]) -> bool:
    """Return whether a TaskQueue is ready."""
    return bool(_condition(queue, "Ready").get("status") == "True")


def is_idle(queue: Mapping[str, Any]) -> bool:
    """Return whether a TaskQueue that is scaled is ready and at rest."""
    return is_ready(queue) and bool(_condition(queue, "Scaling").get("reason") == "Idle")


def mean_between(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Return the mean of what was observed between two readings of a sum and its count."""
    return (after[0] - before[0]) / (after[1] - before[1])


def _reconciled(stage: Stage) -> tuple[float, float]:
    """Return how long the operator has reconciled TaskQueues, in seconds, and how often."""
    total, count = (
        stage.system.metric(f"taskqueue_reconcile_duration_seconds_{kind}") or 0.0
        for kind in ("sum", "count")
    )
    return total, count


def _condition(queue: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = queue.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def _fill(stage: Stage, prefix: str, count: int) -> None:
    """Create finished Tasks while there is no operator, that none has seen before."""
    body = task_body(QUEUE, "noop", {"hello": "world"})
    stage.system.scale_operator(0)
    for begun in range(0, count, _FILLED_AT_ONCE):
        stage.client.run(
            stage.tasks,
            body,
            f"{prefix}-{begun}-",
            min(_FILLED_AT_ONCE, count - begun),
            # Of now: what finished long ago is deleted at once by the history.
            patch=outcome_patch(rfc3339(datetime.now(UTC))),
            patches=1,
        )


def _measure_restart(stage: Stage, readings: Readings, name: str, count: int) -> int:
    """Start the operator among finished Tasks, with one that waits; return how many came new.

    What was there before the operator goes out 10 s late: its predecessor may have published it.
    """
    _create(stage, f"waiting-{count}")
    stage.system.kubectl.run("scale", "deployment", OPERATOR, "--replicas=1")
    _wait(stage, lambda: bool(memory_of("operator")))
    begun = moment_of_start(_operator())
    probes, new = _await_new(stage, f"probe-{count}")
    waiting = _await_handled(stage, f"waiting-{count}")
    _wait(stage, lambda: _counted(stage) == count + 1 + probes)
    settled = time.time()
    operator = _operator()
    readings.add(f"operator_start_to_first_task_{name}", "s", new - begun)
    readings.add(f"operator_start_to_waiting_task_{name}", "s", waiting - begun)
    readings.add(f"operator_start_to_settled_{name}", "s", settled - begun)
    readings.add(f"operator_cpu_to_settled_{name}", "s", operator.cpu)
    readings.add(f"operator_memory_{name}", "MB", operator.memory / _MEGABYTE)
    readings.add(f"operator_memory_peak_{name}", "MB", peak_bytes(operator) / _MEGABYTE)
    return 1 + probes


def _await_new(stage: Stage, prefix: str) -> tuple[int, float]:
    """Create Tasks until one has ended; return how many, and when the first handler ran.

    The first of them come before the operator leads, and so are to it as if they had been there.
    """
    deadline = time.monotonic() + _SECONDS
    names: list[str] = []
    while time.monotonic() < deadline:
        names.append(f"{prefix}-{len(names)}")
        _create(stage, names[-1])
        time.sleep(_PROBE_SECONDS)
        handled = [_handled(stage, name) for name in names]
        if moments := [one for one in handled if one is not None]:
            return len(names), min(moments)
    raise WaitTimeoutError(f"no new Task ran within {_SECONDS:.0f} s: {stage.kubectl.diagnose()}")


def _measure_flow(stage: Stage, readings: Readings, name: str) -> None:
    """Run new Tasks, as `bench.tasks` does: what each costs must not depend on those there are."""

    def run(prefix: str, count: int) -> float:
        body = task_body(QUEUE, "stamp", {"hello": "world"})
        new = f"{prefix}-{name.replace('_', '-')}-"
        return stage.client.run(stage.tasks, body, new, count, awaited=SUCCEEDED).rate

    run("warm", _WARM)
    before = cpu_seconds()
    readings.add(f"tasks_{name}", "1/s", run("new", _SAMPLE))
    used = cpu_per_task(before, cpu_seconds(), _SAMPLE)
    for component in ("operator", "api_server", "worker"):
        readings.add(f"cpu_per_task_{component}_{name}", "ms", used[component])


def _measure_new_queues(stage: Stage, readings: Readings, name: str, numbers: range) -> None:
    """Create TaskQueues, all at once but for the last, which finds the others at rest."""
    *many, last = numbers
    if many:
        begun, before = time.monotonic(), cpu_seconds()["operator"]
        _create_queues(stage, many)
        took = time.monotonic() - begun
        used = cpu_seconds()["operator"] - before
        readings.add(f"seconds_per_new_queue_{name}", "s", took / len(many))
        readings.add(f"operator_cpu_per_new_queue_{name}", "ms", used / len(many) * 1000)
    begun = time.monotonic()
    _create_queues(stage, [last])
    readings.add(f"queue_to_ready_{name}", "s", time.monotonic() - begun)


def _create_queues(stage: Stage, numbers: list[int]) -> None:
    """Create TaskQueues, and wait until all are ready."""
    names = [f"rest-{number}" for number in numbers]
    for name in names:
        stage.apply(queue_with(name, 4, scaled=True))
    _wait_all(stage, names, is_ready)


def _wait_all(stage: Stage, names: list[str], so: Callable[[Mapping[str, Any]], bool]) -> None:
    """Wait until all TaskQueues are so.

    One after the other: a list of all of them, again and again, would be more than they cost.
    """
    for name in names:
        _wait(stage, lambda name=name: so(stage.api.get("TaskQueue", stage.namespace, name)))  # type: ignore[misc]


def _create(stage: Stage, name: str) -> None:
    metadata = {"name": name, "namespace": stage.namespace}
    stage.api.create({**task_body(QUEUE, "stamp"), "metadata": metadata})


def _handled(stage: Stage, name: str) -> float | None:
    """Return when the handler of a Task ran; None: it has not succeeded."""
    status = _status(stage, "Task", name)
    return float(status["result"]) if status.get("phase") == "Succeeded" else None


def _await_handled(stage: Stage, name: str) -> float:
    return wait_for(
        lambda: _handled(stage, name), timeout_seconds=_SECONDS, describe=stage.kubectl.diagnose
    )


def _status(stage: Stage, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = stage.api.get(kind, stage.namespace, name).get("status", {})
    return found


def _counted(stage: Stage) -> int:
    return int(_status(stage, "TaskQueue", QUEUE).get("tasks", {}).get("succeeded", 0))


def _operator() -> Process:
    return memory_of("operator")[0]


def _wait(stage: Stage, condition: Callable[[], bool]) -> None:
    wait_for(condition, timeout_seconds=_SECONDS, describe=stage.kubectl.diagnose)
