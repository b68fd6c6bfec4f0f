"""`batch/v1` Jobs, which a user would take instead: one pod for each piece of work."""

from typing import Any

from bench.figures import Readings, percentiles
from bench.stage import Stage
from e2e.manifests import WORKER_IMAGE, restricted_pod

COUNT = 30
_ALONE = 6
_COMPLETE = "status.successful=1"


def job_body() -> dict[str, Any]:
    """Return a Job that starts the same Python as a worker has, and does nothing with it."""
    container = {"name": "job", "image": WORKER_IMAGE, "command": ["python3", "-c", "pass"]}
    pod = restricted_pod(container, restartPolicy="Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {},
        "spec": {"backoffLimit": 0, "template": {"metadata": {}, "spec": pod}},
    }


def measure(stage: Stage, readings: Readings) -> None:
    """Take one run of many at once, and of some one at a time."""
    path = f"/apis/batch/v1/namespaces/{stage.namespace}/jobs"
    many = stage.client.run(path, job_body(), "many-", COUNT, awaited=_COMPLETE)
    readings.add("jobs", "1/s", many.rate)
    stage.remove_tasks(path)
    alone = stage.client.run(path, job_body(), "alone-", _ALONE, awaited=_COMPLETE, alone=True)
    readings.add("job_latency_alone_p50", "ms", percentiles(alone.finished)["p50"] * 1000)
    stage.remove_tasks(path)
