"""Draw what bench/results.json says into docs/images.

`python -m bench.plots [--results FILE] [--folder FOLDER]`; matplotlib is installed apart.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from bench.environment import PLOTS, ensure_environment, python_of
from bench.plots.pictures import build_pictures
from bench.results import RESULTS, ResultsError, read_results
from e2e.kubectl import CHECKOUT

_DRAW = Path(__file__).parent / "draw.py"
_IMAGES = CHECKOUT / "docs" / "images"


def main() -> int:
    """Draw the pictures, and say what could not be drawn."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.plots", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="of `make bench`")
    parser.add_argument("--folder", type=Path, default=_IMAGES, help="of the pictures")
    given = parser.parse_args()
    try:
        results = read_results(given.results)
    except ResultsError as error:
        print(f"plots: {error}", file=sys.stderr)
        return 1
    if results is None:
        print(f"plots: there is no {given.results}; `make bench` writes it.", file=sys.stderr)
        return 1
    pictures, sentences = build_pictures(results)
    for sentence in sentences:
        print(f"plots: {sentence}", file=sys.stderr)
    if not pictures:
        return 1
    python = python_of(ensure_environment(PLOTS))
    text = json.dumps([asdict(picture) for picture in pictures])
    done = subprocess.run([python, _DRAW, given.folder], input=text, text=True, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
