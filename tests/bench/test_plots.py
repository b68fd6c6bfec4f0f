"""What stands in the pictures: figures that the benchmarks add, and nothing that they lack."""

import inspect
import json
import re
import tomllib
from collections.abc import Mapping

import pytest

from bench import jobs, limit, tasks
from bench.environment import PLOTS
from bench.figures import Readings
from bench.load_client import Measured
from bench.messages.plan import HANDLERS, SLOTS, SYSTEMS, Cell
from bench.plots.pictures import LIMIT, RATES, Panel, Picture, Value, build_pictures
from bench.results import parse_results
from bench.tasks import SHARES, _add_latency
from e2e.kubectl import CHECKOUT
from tests.bench.made_up import build_document


def build(figures: Mapping[str, tuple[str, float]]) -> tuple[dict[str, Picture], list[str]]:
    """Return the pictures of such figures by name, and what is said of what is absent."""
    pictures, sentences = build_pictures(parse_results(json.dumps(build_document(figures))))
    return {picture.name: picture for picture in pictures}, sentences


def show(panel: Panel) -> dict[str, list[float | None]]:
    """Return the middle values of a panel by the labels of its series."""
    return {
        series.label: [value.median if value else None for value in series.values]
        for series in panel.series
    }


def test_rates_are_by_the_limit_run_by_run() -> None:
    pictures, _ = build({LIMIT: ("1/s", 200.0), "tasks": ("1/s", 150.0), "jobs": ("1/s", 2.0)})
    (panel,) = pictures["throughput"].panels
    assert panel.places == ("Tasks", "Jobs")
    assert show(panel) == {"": [0.75, 0.01]}
    assert pictures["throughput"].source == "commit abc1234, on 4 processors, 16 GB, Linux"


def test_without_the_limit_there_is_nothing_to_compare_with() -> None:
    pictures, sentences = build({"tasks": ("1/s", 150.0)})
    assert pictures == {}
    assert len(sentences) == 4
    assert sentences[0].startswith(f"throughput: not drawn, there is no {LIMIT}, ")


def test_the_rates_are_called_as_the_benchmark_calls_them() -> None:
    sources = "".join(inspect.getsource(module) for module in (limit, tasks, jobs))
    assert [name for name in (LIMIT, *RATES.values()) if f'add("{name}"' not in sources] == []


def test_latency_has_all_that_the_benchmark_adds() -> None:
    readings = Readings()
    times = [0.01] * 50 + [0.02] * 45 + [0.03] * 5
    done = Measured(100, 1.0, times, times, times, [])
    for moment in ("alone", *(f"at_{share}_percent" for share in SHARES)):
        _add_latency(readings, f"latency_{moment}", done)
    figures = {figure.name: (figure.unit, figure.median) for figure in readings.figures()}
    pictures, sentences = build(figures)
    started, succeeded = pictures["latency"].panels
    assert started.places == ("at rest", "25 %", "50 %", "75 %")
    assert show(started) == show(succeeded) == {"p50": [10] * 4, "p95": [20] * 4, "p99": [30] * 4}
    assert [sentence for sentence in sentences if sentence.startswith("latency")] == []


def test_a_figure_that_is_absent_leaves_a_gap_and_is_named() -> None:
    names = [f"latency_{moment}_to_succeeded_p50" for moment in ("alone", "at_75_percent")]
    pictures, sentences = build(dict.fromkeys(names, ("ms", 10.0)))
    (panel,) = pictures["latency"].panels
    assert show(panel)["p50"] == [10.0, None, None, 10.0]
    (sentence,) = [sentence for sentence in sentences if sentence.startswith("latency")]
    assert "drawn in part" in sentence
    assert "latency_at_25_percent_to_succeeded_p50" in sentence
    assert names[0] not in sentence


def test_messages_have_a_panel_for_each_handler() -> None:
    cells = [Cell(handler, slots) for handler in HANDLERS for slots in SLOTS]
    figures = {
        cell.figure(system): ("1/s", float(cell.slots * (SYSTEMS.index(system) + 1)))
        for cell in cells
        for system in SYSTEMS
    }
    pictures, sentences = build(figures)
    panels = pictures["messages"].panels
    assert [panel.title for panel in panels] == [
        "handler that does nothing",
        "handler of 1 ms",
        "handler of 100 ms",
    ]
    for panel in panels:
        assert panel.places == ("1 slot", "8 slots")
        assert show(panel) == {"ours": [1, 8], "celery": [2, 16], "dramatiq": [3, 24]}
    assert [sentence for sentence in sentences if sentence.startswith("messages")] == []


@pytest.mark.parametrize("prefix", ["", "operator_"])
def test_figures_with_tasks_stand_over_their_number_and_not_over_that_of_queues(
    prefix: str,
) -> None:
    figures = {
        f"{prefix}start_to_first_task_with_10000_tasks": ("s", 3.0),
        f"{prefix}start_to_first_task_with_1000_tasks": ("s", 2.0),
        f"{prefix}start_to_settled_with_50000_tasks": ("s", 9.0),
        "operator_memory_with_100_queues": ("MB", 99.0),
        "cpu_per_task_operator_with_1000_tasks": ("ms", 1.5),
    }
    pictures, sentences = build(figures)
    cost, start = pictures["scale"].panels
    assert (cost.places, show(cost)["operator"]) == ((1000,), [1.5])
    assert start.places == (1000, 10_000, 50_000)
    assert show(start) == {
        "to its first Task": [2.0, 3.0, None],
        "to all being counted": [None, None, 9.0],
    }
    assert " operator_memory_with_..._tasks" in sentences[-1]
    assert "?" not in sentences[-1]


def test_the_runs_show_as_least_and_most() -> None:
    pictures, _ = build({"tasks_with_1000_tasks": ("1/s", 100.0)})
    (panel,) = pictures["scale"].panels
    assert panel.series[0].values == (Value(100.0, 90.0, 120.0),)


def test_matplotlib_is_locked_apart() -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", PLOTS.read_text(), re.MULTILINE))
    groups = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["dependency-groups"]
    assert "matplotlib" in locked
    assert not [one for one in groups["dev"] if one.startswith("matplotlib")]
    for other in ("dev", "operator", "worker"):
        assert "matplotlib" not in (CHECKOUT / "requirements" / f"{other}.txt").read_text()
