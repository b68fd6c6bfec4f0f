"""The model of growth: what so many Tasks need, and what is too small first."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.results import parse_results, read_results
from bench.simulate.costs import COMPONENTS, DEFAULTS, Costs, Memory, find_costs
from bench.simulate.model import (
    ADVISED_QUOTA,
    Load,
    Need,
    Part,
    Room,
    decide_advice,
    find_etcd_bytes,
    find_outlook,
)
from bench.simulate.report import BASE, UNKNOWN, build_lines, describe_source
from tests.bench.made_up import build_document

COSTS = Costs(source="here", cpu_ms=dict.fromkeys(COMPONENTS, 1.0), task_bytes=1000)
LOAD = Load(rate=100.0, kept=1000)
ROOM = Room(cores=4.0, etcd_bytes=1e9, operator_bytes=1e9)
PAGE = (Path(__file__).parents[2] / "docs/performance.md").read_text(encoding="utf-8")


def test_the_defaults_explain_the_rate_that_was_measured() -> None:
    # 165/s with all of two processors, which had other things to do too.
    assert 165 < 2000 / sum(DEFAULTS.cpu_ms.values()) < 165 * 1.2


def test_without_results_the_costs_are_the_defaults() -> None:
    assert find_costs(None) is DEFAULTS


def test_results_go_before_the_defaults_and_what_they_lack_is_said() -> None:
    document = build_document({f"cpu_per_task_{name}": ("ms", 2.0) for name in COMPONENTS[1:]})
    costs = find_costs(parse_results(json.dumps(document)))
    assert costs.cpu_ms == {**dict.fromkeys(COMPONENTS, 2.0), "api_server": 6.44}
    assert costs.assumed == ("api_server",)
    said = describe_source(costs)
    assert "abc1234" in said
    assert "api_server" in said


def test_memory_is_the_line_through_what_was_measured() -> None:
    peaks = {1000: 110.0, 10_000: 200.0, 50_000: 600.0}
    named = {f"operator_memory_peak_with_{n}_tasks": ("MB", mb) for n, mb in peaks.items()}
    others = {"operator_memory_peak_with_1_queues": ("MB", 7.0), "tasks": ("1/s", 160.0)}
    memory = find_costs(parse_results(json.dumps(build_document(named | others)))).memory
    assert memory == pytest.approx((100e6, 10e3))
    assert find_costs(parse_results(json.dumps(build_document(others)))).memory is None


def test_cores_are_cost_times_rate() -> None:
    outlook = find_outlook(replace(COSTS, cpu_ms=DEFAULTS.cpu_ms), LOAD, ROOM)
    assert outlook.by_part[Part.API_SERVER].amount == pytest.approx(0.644)
    assert outlook.by_part[Part.RABBITMQ].amount == pytest.approx(0.085)
    assert outlook.worker_cores == pytest.approx(0.145)


def test_etcd_holds_what_stays_and_ten_minutes_of_what_was_replaced() -> None:
    assert find_etcd_bytes(COSTS, LOAD) == 1000 * (1000 + 100 * 2 * 600)


def test_the_tightest_part_comes_first() -> None:
    outlook = find_outlook(COSTS, LOAD, ROOM)
    assert [need.part for need in outlook.needs[:2]] == [Part.ETCD_SIZE, Part.OPERATOR]
    roomy = find_outlook(COSTS, LOAD, replace(ROOM, etcd_bytes=1e12))
    assert roomy.needs[0].part == Part.OPERATOR


def test_memory_counts_where_it_is_known() -> None:
    assert Part.OPERATOR_MEMORY not in find_outlook(COSTS, LOAD, ROOM).by_part
    known = replace(COSTS, memory=Memory(base=1e8, per_task=1e6))
    need = find_outlook(known, LOAD, ROOM).by_part[Part.OPERATOR_MEMORY]
    assert (need.amount, need.share) == (1.1e9, 1.1)


@pytest.mark.parametrize(("amount", "pieces"), [(0.0, 1), (0.7, 1), (0.71, 2), (1.4, 2), (1.5, 3)])
def test_an_operator_is_one_core_and_leaves_some_of_it(amount: float, pieces: int) -> None:
    need = Need(Part.OPERATOR, amount, 1.0)
    assert (need.pieces, need.is_met) == (pieces, pieces == 1)


@pytest.mark.parametrize(
    ("need", "words"),
    [
        pytest.param(Need(Part.API_SERVER, 6, 4), "3 API servers", id="API server"),
        pytest.param(Need(Part.ETCD, 6, 4), "messages without a Task", id="etcd"),
        pytest.param(Need(Part.ETCD_SIZE, 4e9, 2e9), "a quota of 8 GiB", id="size"),
        pytest.param(Need(Part.ETCD_SIZE, ADVISED_QUOTA, 2e9), "8 GiB are too", id="any size"),
        pytest.param(Need(Part.RABBITMQ, 4, 4), "2 brokers", id="RabbitMQ"),
        pytest.param(Need(Part.OPERATOR, 1.5, 1), "3 releases", id="operator"),
        pytest.param(Need(Part.OPERATOR_MEMORY, 2, 1), "resources.limits.memory", id="memory"),
    ],
)
def test_there_is_advice_for_each_part(need: Need, words: str) -> None:
    assert words in decide_advice(need)


def test_the_table_shows_each_size_and_what_is_too_small_at_the_largest() -> None:
    lines = list(build_lines(COSTS, LOAD, ROOM))
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    table = {head: cells for head, *cells in rows[2:]}
    assert table["Tasks a second"] == ["100", "1,000", "10,000"]
    assert table["operator, cores in how many releases"] == ["0.1 in 1", "1 in 2", "10 in 15"]
    assert table["first limit, and how much of its room is used"][0] == "etcd's size, 12 %"
    assert table["operator, memory"] == [UNKNOWN] * 3
    advice = [line.partition("**")[2].partition("**")[0] for line in lines if line[:1].isdigit()]
    assert advice == ["etcd's size", "operator", "API server", "etcd", "RabbitMQ"]


def test_nothing_too_small_is_said() -> None:
    lines = list(build_lines(COSTS, Load(0.01, 1), ROOM))
    assert lines[-1] == "Nothing is too small at 100x."


def test_the_page_shows_what_the_model_prints() -> None:
    costs = find_costs(read_results())
    lines = [describe_source(costs), *build_lines(costs, BASE)]
    assert "\n".join(lines[1:]) in PAGE, "put the output of `make growth` into docs/performance.md"
    assert lines[0] in PAGE
