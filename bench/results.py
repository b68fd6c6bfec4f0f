"""bench/results.json: where it is, and what it says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Figure

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Results:
    """What a benchmark of all parts gave. figures: by name."""

    commit: str
    machine: str
    figures: Mapping[str, Figure]

    def median(self, name: str) -> float | None:
        """Return the middle of a figure's runs; None: it was not measured."""
        figure = self.figures.get(name)
        return None if figure is None else figure.median


def parse_results(document: Mapping[str, Any]) -> Results:
    """Return what a document of `python -m bench` says. Raises KeyError for anything else."""
    figures = [Figure(one["name"], one["unit"], tuple(one["runs"])) for one in document["figures"]]
    return Results(
        document["commit"], document["machine"], {figure.name: figure for figure in figures}
    )


def read_results(path: Path = RESULTS) -> Results | None:
    """Return the results of a file; None: there is none."""
    if not path.exists():
        return None
    return parse_results(json.loads(path.read_text(encoding="utf-8")))
