"""What a worker takes when there is nothing to do: its memory, and the time to its first message.

How many messages it runs is measured by `bench.messages.kinds`.
"""

import time
from collections.abc import Mapping

from bench.figures import Readings
from bench.machine import Process, memory_of, moment_of_start, proportional_bytes
from bench.stage import Stage, queue_with, task_body
from e2e.kubectl import wait_for

_QUEUE = "worker"
_SLOTS = (1, 4, 8)
_STARTS = 3
_MEGABYTE = 1e6
_SECONDS = 120.0


def measure(stage: Stage, readings: Readings) -> None:
    """Take one run. Only this worker may be there."""
    worked: dict[int, float] = {}
    for slots in _SLOTS:
        stage.start_queue(_QUEUE, slots)
        name = "1_slot" if slots == 1 else f"{slots}_slots"
        _add_memory(readings, f"worker_memory_idle_{name}")
        _run(stage, slots)
        worked[slots] = _add_memory(readings, f"worker_memory_worked_{name}")
        stage.remove_queue(_QUEUE)
        stage.remove_tasks(stage.tasks)
    readings.add("worker_memory_per_slot", "MB", per_slot(worked))
    for number in range(_STARTS):
        _measure_start(stage, readings, f"first-{number}")
    stage.remove_queue(_QUEUE)
    stage.remove_tasks(stage.tasks)


def per_slot(memory: Mapping[int, float]) -> float:
    """Return what each slot adds, from the memory with the fewest and the most slots."""
    least, most = min(memory), max(memory)
    return (memory[most] - memory[least]) / (most - least)


def _add_memory(readings: Readings, name: str) -> float:
    """Add what all of the worker's processes have; return it with shared pages counted once.

    Sums of what each has resident count shared pages as often as there are processes.
    """
    processes = memory_of("worker")
    proportional = sum(map(proportional_bytes, processes)) / _MEGABYTE
    readings.add(name, "MB", proportional)
    readings.add(f"{name}_rss_sum", "MB", sum(one.memory for one in processes) / _MEGABYTE)
    readings.add(f"{name}_rss_main", "MB", processes[0].memory / _MEGABYTE)
    return proportional


def _measure_start(stage: Stage, readings: Readings, name: str) -> None:
    """Let a paused TaskQueue with one Task go on; the Task says when its handler ran."""
    stage.apply(queue_with(_QUEUE, 4, paused=True))
    stage.wait_ready(_QUEUE, workers=0)
    _wait_no_worker(stage)
    _create(stage, name, "stamp")
    unpaused = time.time()
    stage.apply(queue_with(_QUEUE, 4))
    _wait(stage, name)
    handled = float(stage.api.get("Task", stage.namespace, name)["status"]["result"])
    readings.add("worker_unpaused_to_first_message", "s", handled - unpaused)
    started = moment_of_start(_first(memory_of("worker")))
    readings.add("worker_process_to_first_message", "s", handled - started)


def _first(processes: list[Process]) -> Process:
    """Return the process that was there before the others."""
    return min(processes, key=lambda process: process.begun)


def _run(stage: Stage, slots: int) -> None:
    """Run Tasks that keep all slots busy at once."""
    names = [f"busy-{number}" for number in range(4 * slots)]
    for name in names:
        _create(stage, name, "pause", {"seconds": 0.2})
    for name in names:
        _wait(stage, name)


def _create(stage: Stage, name: str, handler: str, payload: object = None) -> None:
    metadata = {"name": name, "namespace": stage.namespace}
    stage.api.create({**task_body(_QUEUE, handler, payload), "metadata": metadata})


def _wait(stage: Stage, name: str) -> None:
    def done() -> bool:
        task = stage.api.get("Task", stage.namespace, name)
        return bool(task.get("status", {}).get("phase") == "Succeeded")

    wait_for(done, timeout_seconds=_SECONDS, describe=stage.kubectl.diagnose)


def _wait_no_worker(stage: Stage) -> None:
    wait_for(
        lambda: not memory_of("worker"),
        timeout_seconds=_SECONDS,
        describe=stage.kubectl.diagnose,
    )
