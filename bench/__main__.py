"""`make bench`: measure everything side by side, and write bench/results.json."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bench import jobs, limit, scale, steps, tasks, worker
from bench.arguments import count, some_of
from bench.figures import Figure, Readings, ratio, rounded, table
from bench.messages import kinds, measuring
from bench.results import RESULTS
from bench.stage import Stage, stage
from e2e.demo import DemoError
from e2e.kubectl import CHECKOUT, CommandError, WaitTimeoutError
from e2e.node.console import NodeError, say


def _latency(stage: Stage, readings: Readings) -> None:
    """Take one run of the bare steps, and of Tasks one at a time and at shares of the rate."""
    steps.measure(stage, readings)
    tasks.measure_latency(stage, readings)


def _messages(_: Stage, readings: Readings) -> None:
    """Take one run of messages without a Task, on a stage of their own."""
    measuring.measure(readings, 1)


def _kinds(_: Stage, readings: Readings) -> None:
    """Take some runs of each kind of handlers, on a stage of their own."""
    kinds.measure(readings)


# In the order in which one round has them; those that are compared come one after the other.
ROUNDS: Mapping[str, tuple[Callable[[Stage, Readings], None], ...]] = {
    "tasks": (limit.measure, tasks.measure, tasks.measure_requests),
    "jobs": (jobs.measure,),
    "latency": (_latency,),
    "messages": (_messages,),
}
# Once, after all rounds: they take many minutes, and leave the machine otherwise than it was.
ONCE: Mapping[str, tuple[Callable[[Stage, Readings], None], ...]] = {
    "worker": (worker.measure, _kinds),
    "scale": (scale.measure_tasks, scale.measure_queues),
}
_ENDS = (
    NodeError,
    DemoError,
    CommandError,
    WaitTimeoutError,
    RuntimeError,
    KeyboardInterrupt,
)
RATIOS = {
    "tasks_to_limit": ("tasks", "limit_create_1_patch"),
    "tasks_to_plain_limit": ("tasks", "limit_plain_kind_create_1_patch"),
    "tasks_to_jobs": ("tasks", "jobs"),
    "latency_to_steps": ("latency_alone_to_succeeded_p50", "steps_sum_p50"),
    "worker_to_celery": ("messages_noop_1_slot_ours", "messages_noop_1_slot_celery"),
    "worker_to_dramatiq": ("messages_noop_1_slot_ours", "messages_noop_1_slot_dramatiq"),
}


def find_ratios(figures: list[Figure]) -> list[Figure]:
    """Return the ratios of what was measured, and the writes that a Task costs."""
    by_name = {figure.name: figure for figure in figures}
    found = [
        ratio(name, by_name[above], by_name[below])
        for name, (above, below) in RATIOS.items()
        if above in by_name and below in by_name
    ]
    return found + [by_name[name] for name in ("writes_per_task",) if name in by_name]


def describe(figures: list[Figure], runs: int) -> dict[str, Any]:
    """Return what results.json says."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} processors, {rounded(memory):g} GB, {platform.system()}",
        "runs": runs,
        "figures": [figure.to_json() for figure in figures],
        "ratios": {figure.name: figure.to_json() for figure in find_ratios(figures)},
    }


def measure(readings: Readings, parts: list[str], runs: int) -> None:
    """Run the parts side by side."""
    with stage() as made:
        tasks.warm_up(made)
        for run in range(runs):
            for name in (name for name in ROUNDS if name in parts):
                say(f"run {run + 1} of {runs}: {name}")
                for take in ROUNDS[name]:
                    take(made, readings)
        made.remove_queue(tasks.QUEUE)
        for name in (name for name in ONCE if name in parts):
            say(f"{name}, once")
            for take in ONCE[name]:
                take(made, readings)


def main() -> int:
    """Measure, print the table, and write the results if everything was measured."""
    every = [*ROUNDS, *ONCE]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", help=f"some of {','.join(every)}; default: all")
    parser.add_argument("--runs", type=count, default=3, help="default: 3")
    given = parser.parse_args()
    try:
        parts = every if given.only is None else some_of(given.only, every)
    except ValueError as error:
        parser.error(str(error))
    readings, failed = Readings(), False
    try:
        measure(readings, parts, given.runs)
    except _ENDS as error:
        # What was measured until then took its time, too.
        print(f"bench: {error or 'stopped'}", file=sys.stderr)
        failed = True
    figures = readings.figures()
    print(table(figures))
    if failed:
        return 1
    print()
    print(table(find_ratios(figures)))
    if parts == every:
        RESULTS.write_text(json.dumps(describe(figures, given.runs), indent=1) + "\n")
        say(f"written: {RESULTS.relative_to(CHECKOUT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
