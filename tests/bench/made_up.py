"""Made-up results of a benchmark."""

from collections.abc import Mapping
from typing import Any

from bench.figures import Figure


def build_document(figures: Mapping[str, tuple[str, float]]) -> dict[str, Any]:
    """Return what results.json would say. figures: unit and median, of three runs, by name."""
    return {
        "commit": "abc1234",
        "date": "2026-01-01",
        "machine": "4 processors, 16 GB, Linux",
        "runs": 3,
        "figures": [
            Figure(name, unit, (value * 0.9, value, value * 1.2)).to_json()
            for name, (unit, value) in figures.items()
        ],
        "ratios": {},
    }
