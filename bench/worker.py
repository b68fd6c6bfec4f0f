"""What a worker takes when there is nothing to do: its memory, and the time to its first Task."""

import time
from pathlib import Path

from bench.figures import Readings
from bench.machine import memory_of
from bench.stage import Stage, queue_with, task_body
from e2e.kubectl import wait_for

_QUEUE = "worker"
_SLOTS = (1, 4, 8)
_MEGABYTE = 1e6
_SECONDS = 120.0


def measure(stage: Stage, readings: Readings) -> None:
    """Take one run. Only this worker may be there."""
    for slots in _SLOTS:
        stage.start_queue(_QUEUE, slots)
        # The slots' processes are there once each has run something.
        _run(stage, slots)
        pids = [process.pid for process in memory_of("worker")]
        readings.add(f"worker_memory_{slots}_slots", "MB", _proportional(pids))
        readings.add(f"worker_memory_{slots}_slots_rss", "MB", _resident(pids))
        stage.remove_queue(_QUEUE)
        stage.remove_tasks(stage.tasks)
    stage.apply(queue_with(_QUEUE, 4, paused=True))
    stage.wait_ready(_QUEUE, workers=0)
    _create(stage, "first")
    begun = time.monotonic()
    stage.apply(queue_with(_QUEUE, 4))
    _wait(stage, "first")
    readings.add("unpaused_to_first_task", "s", time.monotonic() - begun)
    stage.remove_queue(_QUEUE)
    stage.remove_tasks(stage.tasks)


def _run(stage: Stage, slots: int) -> None:
    """Run Tasks that keep all slots busy at once."""
    names = [f"busy-{number}" for number in range(4 * slots)]
    for name in names:
        _create(stage, name, "pause", {"seconds": 0.2})
    for name in names:
        _wait(stage, name)


def _create(stage: Stage, name: str, handler: str = "noop", payload: object = None) -> None:
    metadata = {"name": name, "namespace": stage.namespace}
    stage.api.create({**task_body(_QUEUE, handler, payload), "metadata": metadata})


def _wait(stage: Stage, name: str) -> None:
    def done() -> bool:
        task = stage.api.get("Task", stage.namespace, name)
        return bool(task["status"]["phase"] == "Succeeded")

    wait_for(done, timeout_seconds=_SECONDS, describe=stage.kubectl.diagnose)


def _proportional(pids: list[int]) -> float:
    """Return the memory of processes, each page that several share once."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        (line,) = [line for line in text.splitlines() if line.startswith("Pss:")]
        total += int(line.split()[1]) * 1024
    return total / _MEGABYTE


def _resident(pids: list[int]) -> float:
    """Return the sum of what each process has resident."""
    return sum(one.memory for one in memory_of("worker") if one.pid in pids) / _MEGABYTE
