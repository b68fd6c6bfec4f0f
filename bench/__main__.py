"""`python -m bench [--only tasks,latency] [--runs 3]`: measure, and write bench/results.json."""

import argparse
import sys

from bench import limit, tasks
from bench.figures import Readings, table
from bench.stage import stage
from e2e.node.console import say


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    readings = Readings()
    with stage() as made:
        tasks.warm_up(made)
        for run in range(arguments.runs):
            say(f"run {run + 1}")
            limit.measure(made, readings)
            tasks.measure(made, readings)
            tasks.measure_requests(made, readings)
            limit.measure_alone(made, readings)
            tasks.measure_latency(made, readings, 150)
        print(table(readings.figures()))
        made.remove_queue(tasks.QUEUE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
