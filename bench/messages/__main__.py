"""Measure messages without a Task against Celery's and Dramatiq's tasks, and print a table.

`python -m bench.messages [--runs 3] [--handlers noop,1ms,100ms] [--slots 1,8] [--defaults]`, on
the cluster of `make cluster-up` with the chart installed, as after `make demo`.
"""

import argparse
import sys

from bench.figures import Readings, table
from bench.messages.measuring import measure_cells
from bench.messages.plan import HANDLERS, SLOTS, Cell


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="of everything (default: 3)")
    parser.add_argument("--handlers", default=",".join(HANDLERS), help="(default: all)")
    parser.add_argument("--slots", default=",".join(map(str, SLOTS)), help="(default: 1,8)")
    parser.add_argument(
        "--defaults", action="store_true", help="measure the rivals with their own prefetch too"
    )
    given = parser.parse_args()
    handlers = given.handlers.split(",")
    if unknown := set(handlers) - set(HANDLERS):
        parser.error(f"no handlers {', '.join(sorted(unknown))}; there are: {', '.join(HANDLERS)}")
    slots = [int(number) for number in given.slots.split(",")]
    readings = Readings()
    cells = [Cell(name, count) for name in handlers for count in slots]
    measure_cells(readings, given.runs, cells, defaults=given.defaults)
    print(table(readings.figures()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
