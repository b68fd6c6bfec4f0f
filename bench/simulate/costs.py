"""What a Task costs, as it was measured."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import linear_regression
from types import MappingProxyType
from typing import NamedTuple

from bench.results import Results

COMPONENTS = ("api_server", "etcd", "rabbitmq", "operator", "worker")
"""As the figures have them."""

_PEAK = re.compile(r"operator_memory_peak_with_(\d+)_tasks")


class Memory(NamedTuple):
    """The most memory that an operator takes, in bytes: without Tasks, and for each that stays."""

    base: float
    per_task: float


@dataclass(frozen=True)
class Costs:
    """What one Task costs that goes well at its first attempt, within a second.

    source: the commit and the machine, in words. cpu_ms: milliseconds of a core, by component.
    assumed: components whose cost comes from elsewhere, since the source does not say it.
    memory: the operator's; None: not measured. task_bytes: of a finished Task in etcd.
    """

    source: str
    cpu_ms: Mapping[str, float]
    assumed: tuple[str, ...] = ()
    memory: Memory | None = None
    task_bytes: int = 1800


DEFAULTS = Costs(
    source="commit 1a662b3, on 2 processors",
    cpu_ms=MappingProxyType(
        {"api_server": 6.44, "etcd": 0.64, "rabbitmq": 0.85, "operator": 1.37, "worker": 1.45}
    ),
)
"""From docs/performance.md, for as long as there are no results of all parts."""


def find_costs(results: Results | None) -> Costs:
    """Return what the results say; of what they lack, or without any, the defaults."""
    if results is None:
        return DEFAULTS
    found = {name: results.median(f"cpu_per_task_{name}") for name in COMPONENTS}
    assumed = tuple(name for name, cost in found.items() if cost is None)
    measured = {name: cost for name, cost in found.items() if cost is not None}
    return Costs(
        source=f"commit {results.commit}, on {results.machine}",
        cpu_ms={**DEFAULTS.cpu_ms, **measured},
        assumed=assumed,
        memory=fit_memory(results),
    )


def fit_memory(results: Results) -> Memory | None:
    """Return the line through the operator's memory with so many Tasks; None: of fewer than two."""
    points = [
        (int(match[1]), figure.median * 1e6)
        for name, figure in results.figures.items()
        if (match := _PEAK.fullmatch(name))
    ]
    if len(points) < 2:
        return None
    slope, base = linear_regression(*zip(*points, strict=True))
    return Memory(base, slope)
