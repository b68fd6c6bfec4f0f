"""Which figures stand in which picture, and which of them were not measured."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.figures import Figure, ratio
from bench.messages.plan import HANDLERS, SLOTS, SYSTEMS, Cell
from bench.results import Results
from bench.tasks import SHARES

LIMIT = "limit_create_1_patch"
RATES = {
    "limit with\ntwo patches": "limit_create_2_patches",
    "limit without\na schema": "limit_plain_kind_create_1_patch",
    "Tasks": "tasks",
    "Jobs": "jobs",
}
MOMENTS = {"at rest": "alone", **{f"{share} %": f"at_{share}_percent" for share in SHARES}}
ENDS = {"to the handler's end": "started", "to Succeeded": "succeeded"}
PERCENTILES = ("p50", "p95", "p99")
SCALE = re.compile(r"(\w+)_with_(\d+)_tasks")
"""Figures that were taken with so many Tasks there."""

STEMS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("Cost of a new Task", "ms of a core"): {
        "API server": "cpu_per_task_api_server",
        "operator": "cpu_per_task_operator",
        "worker": "cpu_per_task_worker",
    },
    ("Rate of new Tasks", "1/s"): {"Tasks": "tasks"},
    ("Start of the operator", "s"): {
        "to its first Task": "(operator_)?start_to_first_task",
        "to all being counted": "(operator_)?start_to_settled",
    },
    ("Memory of the operator", "MB"): {
        "after its start": "operator_memory",
        "at most": "operator_memory_peak",
    },
}
"""By title and unit of a panel: what stands in it, as the beginning of figures' names."""


class Value(NamedTuple):
    """What several runs gave."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Series:
    """What belongs together in a panel: one value for each place; None: not measured."""

    label: str
    values: tuple[Value | None, ...]


@dataclass(frozen=True)
class Panel:
    """One diagram. places: words, for bars, or numbers of Tasks, for lines."""

    title: str
    unit: str
    places: tuple[str, ...] | tuple[int, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Picture:
    """One file. name: without its ending. source: of which the figures are, in words."""

    name: str
    title: str
    source: str
    panels: tuple[Panel, ...]


class Selection:
    """Picks figures, and notes which are not there."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self.absent: list[str] = []

    def find(self, name: str) -> Figure | None:
        """Return a figure; None: it is not there, which is noted."""
        found = self._results.figures.get(name)
        if found is None:
            self.absent.append(name)
        return found

    def value(self, name: str) -> Value | None:
        """Return what a figure gave; None: it is not there, which is noted."""
        found = self.find(name)
        return None if found is None else value_of(found)

    def with_tasks(self, stem: str) -> dict[int, Figure]:
        """Return figures by the number of Tasks that were there; that there are none is noted."""
        found = {
            int(match[2]): figure
            for name, figure in self._results.figures.items()
            if (match := SCALE.fullmatch(name)) and re.fullmatch(stem, match[1])
        }
        if not found:
            self.absent.append(f"{stem.rpartition('?')[2]}_with_..._tasks")
        return found


def build_pictures(results: Results) -> tuple[list[Picture], list[str]]:
    """Return the pictures, and a sentence for each that lacks something."""
    pictures, sentences = [], []
    source = f"commit {results.commit}, on {results.machine}"
    for name, title, build in (
        ("throughput", "Rates, by what the API server can do", _throughput),
        ("latency", "Latency, by the share of the highest rate", _latency),
        ("messages", "Messages without a Task", _messages),
        ("scale", "With so many Tasks there", _scale),
    ):
        selection = Selection(results)
        panels = tuple(panel for panel in build(selection) if has_values(panel))
        if panels:
            pictures.append(Picture(name, title, source, panels))
        if selection.absent:
            left_out = "not drawn" if not panels else "drawn in part"
            sentences.append(f"{name}: {left_out}, there is no {', '.join(selection.absent)}.")
    return pictures, sentences


def value_of(figure: Figure) -> Value:
    """Return the middle of a figure's runs, the least and the most."""
    return Value(figure.median, min(figure.runs), max(figure.runs))


def has_values(panel: Panel) -> bool:
    """Return whether there is anything to see."""
    return any(value is not None for series in panel.series for value in series.values)


def _throughput(selection: Selection) -> Iterator[Panel]:
    """Yield each rate by the one of the limit, of runs side by side."""
    limit = selection.find(LIMIT)
    found = {label: selection.find(name) for label, name in RATES.items()}
    if limit is None:
        return
    values = {
        label: value_of(ratio(label, figure, limit)) for label, figure in found.items() if figure
    }
    series = Series("", tuple(values.values()))
    yield Panel("1: create and one patch, nobody watches", "of the limit", tuple(values), (series,))


def _latency(selection: Selection) -> Iterator[Panel]:
    for title, end in ENDS.items():
        series = []
        for share in PERCENTILES:
            names = [f"latency_{moment}_to_{end}_{share}" for moment in MOMENTS.values()]
            series.append(Series(share, tuple(selection.value(name) for name in names)))
        yield Panel(f"from the create {title}", "ms", tuple(MOMENTS), tuple(series))


def _messages(selection: Selection) -> Iterator[Panel]:
    for handler, seconds in HANDLERS.items():
        does_nothing = "handler that does nothing"
        title = does_nothing if seconds is None else f"handler of {seconds * 1000:g} ms"
        series = [
            Series(system, tuple(selection.value(Cell(handler, n).figure(system)) for n in SLOTS))
            for system in SYSTEMS
        ]
        places = tuple(f"{n} slot{'s' if n > 1 else ''}" for n in SLOTS)
        yield Panel(title, "1/s", places, tuple(series))


def _scale(selection: Selection) -> Iterator[Panel]:
    for (title, unit), stems in STEMS.items():
        lines = {label: selection.with_tasks(stem) for label, stem in stems.items()}
        yield Panel(title, unit, *_align(lines))


def _align(
    lines: Mapping[str, Mapping[int, Figure]],
) -> tuple[tuple[int, ...], tuple[Series, ...]]:
    """Return the numbers that any line has, and each line's values at them."""
    numbers: Sequence[int] = sorted({number for line in lines.values() for number in line})
    series = [
        Series(label, tuple(value_of(line[n]) if n in line else None for n in numbers))
        for label, line in lines.items()
    ]
    return tuple(numbers), tuple(series)
