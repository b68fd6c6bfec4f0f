"""What the API server itself can do: a client that only creates objects and patches their status.

The objects are of a kind with the schema and the rules of Tasks that nobody watches, so this is the
least that Tasks with a result can cost. Objects of a kind without a schema show what those cost.
"""

from typing import Any

from bench.figures import Readings, percentiles
from bench.stage import LIMIT_GROUP, PLAIN_KIND, Stage, task_body

COUNT = 1500
ALONE = 200
_TIME = "2026-01-01T00:00:00Z"


def outcome_patch(time: str = _TIME) -> list[dict[str, Any]]:
    """Return what a worker writes of a short Task that went well, at a time."""
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": "Succeeded",
            "message": "",
            "lastTransitionTime": time,
        }
        for kind in ("Succeeded", "Finished")
    ]
    worker = {
        "pod": "tq-bench-69bb85767c-rx52g",
        "node": "taskqueue-node",
        "instance": "9a5ed1347136163c",
        "podUid": "325fcf78-8d5d-4461-9f12-01791c997a27",
    }
    return _set_status(
        {
            "phase": "Succeeded",
            "attempts": 1,
            "startTime": time,
            "completionTime": time,
            "duration": "1ms",
            "conditions": conditions,
            "worker": worker,
            "result": 0,
        }
    )


def _running_patch() -> list[dict[str, Any]]:
    """Return what may be written any number of times, STEP for the number."""
    return _set_status({"phase": "Pending", "dispatches": "STEP"})


def _set_status(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"op": "add", "path": "/status", "value": status}]


def measure(stage: Stage, readings: Readings) -> None:
    """Take one run."""
    body = task_body("bench", "noop", {"hello": "world"}, group=LIMIT_GROUP)
    one = stage.client.run(stage.probes, body, "one-", COUNT, patch=outcome_patch(), patches=1)
    readings.add("limit_create_1_patch", "1/s", one.rate)
    stage.remove_tasks(stage.probes)
    two = stage.client.run(stage.probes, body, "two-", COUNT, patch=_running_patch(), patches=2)
    readings.add("limit_create_2_patches", "1/s", two.rate)
    stage.remove_tasks(stage.probes)
    plain = {**body, "apiVersion": f"{LIMIT_GROUP}/v1", "kind": PLAIN_KIND}
    bare = stage.client.run(
        stage.plain_probes, plain, "plain-", COUNT, patch=outcome_patch(), patches=1
    )
    readings.add("limit_plain_kind_create_1_patch", "1/s", bare.rate)
    stage.remove_tasks(stage.plain_probes)


def measure_alone(stage: Stage, readings: Readings) -> float:
    """Take one run of one create after the other, and of one patch; return ms of both together."""
    body = task_body("bench", "noop", {"hello": "world"}, group=LIMIT_GROUP)
    created = stage.client.run(stage.probes, body, "alone-", ALONE, concurrency=1)
    both = stage.client.run(
        stage.probes, body, "both-", ALONE, concurrency=1, patch=outcome_patch(), patches=1
    )
    stage.remove_tasks(stage.probes)
    create = percentiles(created.created)["p50"] * 1000
    readings.add("step_create_p50", "ms", create)
    patch = percentiles(both.patched)["p50"] * 1000
    readings.add("step_patch_p50", "ms", patch)
    return create + patch
