"""Say what 1, 10 and 100 times as many Tasks need, and which part is too small first.

`python -m bench.simulate [--rate 10] [--kept 10000] [--cores 4] [--etcd-gib 2]`, from
bench/results.json if it is there; no cluster.
"""

import argparse
import sys

from bench.arguments import count, positive
from bench.results import ResultsError, read_results
from bench.simulate.costs import find_costs
from bench.simulate.model import GIB, Load, Room
from bench.simulate.report import BASE, build_lines, describe_source


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.simulate",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rate", type=positive, default=BASE.rate, help="Tasks a second, at 1x")
    parser.add_argument("--kept", type=count, default=BASE.kept, help="finished Tasks, at 1x")
    parser.add_argument("--cores", type=positive, default=4.0, help="of a node, for each part")
    parser.add_argument("--etcd-gib", type=positive, default=2.0, help="etcd's quota")
    given = parser.parse_args()
    try:
        costs = find_costs(read_results())
    except ResultsError as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 1
    room = Room(cores=given.cores, etcd_bytes=given.etcd_gib * GIB)
    print(describe_source(costs), end="\n\n")
    for line in build_lines(costs, Load(given.rate, given.kept), room):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
