"""Replay arrivals with this operator's autoscaler, KEDA's and the HPA's, and print a table.

`python -m bench.scaling [--seed 1]`: some tens of seconds of one processor; no cluster.
"""

import argparse
import sys

from bench.scaling.patterns import PATTERNS
from bench.scaling.report import SECONDS, build_rows


def main() -> int:
    """Run all, and print each line when it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals (default: 1)")
    seed: int = parser.parse_args().seed
    for row in build_rows(list(PATTERNS), SECONDS, seed):
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
