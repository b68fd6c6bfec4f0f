"""Tasks end to end: how many a second, what each costs, and how long one takes."""

from collections.abc import Mapping
from typing import Any

from bench.figures import Readings, percentiles
from bench.load_client import Measured
from bench.machine import cpu_seconds
from bench.stage import Stage, task_body
from e2e.audit import Requests, requests_for_tasks

QUEUE = "bench"
COUNT = 3000
SUCCEEDED = "status.phase=Succeeded"
_COUNTED = 300
_WARM = 100
_ALONE = 200
_AT_RATE_SECONDS = 8
SHARES = (25, 50, 75)
"""Of the highest rate, in percent, at which latency is taken."""

# Many Tasks are under way at such a rate, each with a request that waits for its answer.
_RATE_CONCURRENCY = 64
# No Task is deleted while others are measured.
SPEC: dict[str, Any] = {"history": {"succeeded": "24h", "limit": 100000}}


def warm_up(stage: Stage) -> None:
    """Start the queue's worker, and let it and the operator run some Tasks."""
    stage.start_queue(QUEUE, **SPEC)
    _run(stage, "warm-", _WARM)
    stage.remove_tasks(stage.tasks)


def measure(stage: Stage, readings: Readings) -> None:
    """Take one run of as many Tasks as fast as it goes."""
    before = cpu_seconds()
    done = _run(stage, "many-", COUNT)
    after = cpu_seconds()
    readings.add("tasks", "1/s", done.rate)
    for component, used in cpu_per_task(before, after, COUNT).items():
        readings.add(f"cpu_per_task_{component}", "ms", used)
    stage.remove_tasks(stage.tasks)


def cpu_per_task(
    before: Mapping[str, float], after: Mapping[str, float], count: int
) -> dict[str, float]:
    """Return the milliseconds of processor time that each component took for each Task.

    before, after: what `cpu_seconds` said then.
    """
    return {name: (after[name] - before[name]) / count * 1000 for name in before}


def measure_requests(stage: Stage, readings: Readings) -> None:
    """Count the requests that Tasks cost, by client and verb."""
    with requests_for_tasks(stage.namespace) as requests:
        _run(stage, "counted-", _COUNTED)
    for request, count in sorted(requests.counts.items()):
        name = f"requests_per_task_{request.who}_{request.verb}_{request.resource}"
        readings.add(name.replace("/", "_").replace(":", "_"), "1", count / _COUNTED)
    readings.add("writes_per_task", "1", writes(requests) / _COUNTED)
    stage.remove_tasks(stage.tasks)


def writes(requests: Requests) -> int:
    """Return how many writes are ours."""
    verbs = ("create", "update", "patch", "delete", "deletecollection")
    return sum(requests.of(who, *verbs) for who in ("operator", "worker"))


def measure_latency(stage: Stage, readings: Readings) -> None:
    """Take one run of Tasks one at a time, and at shares of the rate of as many as it takes."""
    alone = stage.client.run(
        stage.tasks,
        task_body(QUEUE, "stamp"),
        "alone-",
        _ALONE,
        awaited=SUCCEEDED,
        alone=True,
    )
    _add_latency(readings, "latency_alone", alone)
    highest = _run(stage, "highest-", COUNT).rate
    stage.remove_tasks(stage.tasks)
    for share in SHARES:
        rate = highest * share / 100
        done = _run(
            stage,
            f"at-{share}-",
            int(rate * _AT_RATE_SECONDS),
            rate=rate,
            concurrency=_RATE_CONCURRENCY,
        )
        _add_latency(readings, f"latency_at_{share}_percent", done)
    stage.remove_tasks(stage.tasks)


def _run(
    stage: Stage,
    prefix: str,
    count: int,
    *,
    rate: float = 0.0,
    concurrency: int = 16,
    alone: bool = False,
) -> Measured:
    return stage.client.run(
        stage.tasks,
        task_body(QUEUE, "stamp", {"hello": "world"}),
        prefix,
        count,
        awaited=SUCCEEDED,
        rate=rate,
        concurrency=concurrency,
        alone=alone,
    )


def _add_latency(readings: Readings, name: str, done: Measured) -> None:
    for end, values in (("started", done.started), ("succeeded", done.finished)):
        for share, seconds in percentiles(values).items():
            readings.add(f"{name}_to_{end}_{share}", "ms", seconds * 1000)
