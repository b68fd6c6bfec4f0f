"""Figures of a benchmark: what was measured in each run, and ratios of runs side by side."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing that was measured in each run.

    name: words separated by `_`, such as `tasks_per_second`; unit: such as `1/s` or `ms`.
    runs: one value for each run, in their order. At least one.
    """

    name: str
    unit: str
    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return statistics.median(self.runs)

    def to_json(self) -> dict[str, Any]:
        """Return it as results.json has it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": rounded(self.median),
            "min": rounded(min(self.runs)),
            "max": rounded(max(self.runs)),
            "runs": [rounded(value) for value in self.runs],
        }


class Readings:
    """Collects figures, run by run."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], list[float]] = {}

    def add(self, name: str, unit: str, value: float) -> None:
        """Add what one run gave."""
        self._runs.setdefault((name, unit), []).append(value)

    def figures(self) -> list[Figure]:
        """Return all, in the order in which they came first."""
        return [Figure(name, unit, tuple(runs)) for (name, unit), runs in self._runs.items()]


def ratio(name: str, above: Figure, below: Figure) -> Figure:
    """Return one figure by another, each run by the one beside it.

    Runs side by side have the same machine in the same state, so what disturbs both cancels out.
    Raises ValueError if they have not as many runs.
    """
    return Figure(name, "ratio", tuple(a / b for a, b in zip(above.runs, below.runs, strict=True)))


def rounded(value: float) -> float:
    """Return a value with four significant digits: machines are not more exact than that."""
    return float(f"{value:.4g}")


def percentiles(values: Iterable[float]) -> Mapping[str, float]:
    """Return p50, p95 and p99: of the values themselves, the least that so many are not above."""
    ordered = sorted(values)
    return {
        f"p{share}": ordered[max(0, -(-len(ordered) * share // 100) - 1)] for share in (50, 95, 99)
    }


def table(figures: Sequence[Figure]) -> str:
    """Return figures as a Markdown table."""
    lines = [
        "| figure | unit | median | min | max | runs |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for figure in figures:
        shown = (rounded(value) for value in (figure.median, min(figure.runs), max(figure.runs)))
        numbers = " | ".join(f"{value:g}" for value in shown)
        lines.append(f"| {figure.name} | {figure.unit} | {numbers} | {len(figure.runs)} |")
    return "\n".join(lines)
