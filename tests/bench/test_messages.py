"""The pure parts of the message benchmark: rates, names, numbers and commands."""

import os
import re
import tomllib
from itertools import pairwise

import pytest

from bench.environment import RIVALS
from bench.messages.plan import (
    HANDLERS,
    SLOTS,
    SYSTEMS,
    Cell,
    dramatiq_form,
    publish_figure,
    rival_prefetch,
)
from bench.messages.rates import Sample, drain_rate
from bench.messages.systems import celery_command, dramatiq_command
from e2e.kubectl import CHECKOUT

CELLS = [Cell(handler, slots) for handler in HANDLERS for slots in SLOTS]


def steady(rate: float, full: int, begun: float = 0.0, step: float = 0.02) -> list[Sample]:
    """Return what is seen of a queue that is drained at one rate from a moment on."""
    samples = [Sample(0.0, full)]
    while samples[-1].ready:
        at = samples[-1].at + step
        samples.append(Sample(at, max(0, full - int(max(0.0, at - begun) * rate))))
    return samples


@pytest.mark.parametrize("rate", [10.0, 800.0, 5000.0])
@pytest.mark.parametrize("begun", [0.0, 3.7])
def test_rate_of_a_steady_drain_is_its_rate(rate: float, begun: float) -> None:
    assert drain_rate(steady(rate, int(rate * 5), begun)) == pytest.approx(rate, rel=0.01)


def test_rate_leaves_out_the_start_and_the_end() -> None:
    # 10 % at once, as of a large prefetch; then 80 in 8 s; the last 10 % take a minute.
    samples = [Sample(0, 100), Sample(1, 90), Sample(5, 50), Sample(9, 10), Sample(69, 0)]
    assert drain_rate(samples) == pytest.approx(10)


def test_rate_is_interpolated_between_samples() -> None:
    # 25 each second, on the line from the first sample to the last.
    assert drain_rate([Sample(0, 100), Sample(4, 0)]) == pytest.approx(25)


def test_rate_takes_messages_that_came_back_for_not_drained_twice() -> None:
    samples = [Sample(0, 100), Sample(1, 90), Sample(2, 95), Sample(5, 50), Sample(9, 10)]
    assert drain_rate(samples) == pytest.approx(10)


def test_rate_of_what_was_not_drained_is_refused() -> None:
    with pytest.raises(ValueError, match="still has 11 of 100"):
        drain_rate([Sample(0, 100), Sample(1, 80), Sample(2, 11)])


def test_figures_have_names_of_their_own() -> None:
    names = [cell.figure(system) for cell in CELLS for system in SYSTEMS]
    names += [publish_figure(system) for system in SYSTEMS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", name) for name in names)
    assert Cell("noop", 1).figure("ours") == "messages_noop_1_slot_ours"
    assert Cell("1ms", 8).figure("celery") == "messages_1ms_8_slots_celery"
    assert publish_figure("dramatiq") == "publish_confirmed_dramatiq"


def test_long_handlers_bound_the_number_of_messages_and_the_rate() -> None:
    assert Cell("100ms", 8).fastest == pytest.approx(80)
    assert Cell("noop", 8).fastest is None
    for cell in CELLS:
        if cell.fastest is not None and cell.handler == "100ms":
            assert 4 <= cell.messages / cell.fastest <= 8
    for slots in (2, 4, 16):
        assert Cell("100ms", slots).messages == 60 * slots


def test_more_slots_get_more_messages() -> None:
    for handler in HANDLERS:
        counts = [Cell(handler, slots).messages for slots in SLOTS]
        assert all(less < more for less, more in pairwise(counts))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("prefetch", [None, 16])
def test_rivals_get_as_many_slots_as_ours(cell: Cell, prefetch: int | None) -> None:
    assert f"--concurrency={cell.slots}" in celery_command(cell, prefetch)
    form = dict(part[2:].split("=") for part in dramatiq_command(cell, prefetch) if "--" in part)
    assert int(form["processes"]) * int(form["threads"]) == cell.slots


@pytest.mark.parametrize(
    ("slots", "processors", "form"), [(1, 4, (1, 1)), (8, 2, (2, 4)), (8, 3, (1, 8))]
)
def test_dramatiq_has_a_process_for_each_processor_where_that_divides(
    slots: int, processors: int, form: tuple[int, int]
) -> None:
    assert dramatiq_form(Cell("noop", slots), processors) == form


def test_prefetch_is_part_of_both_commands() -> None:
    cell = Cell("noop", 8)
    _, threads = dramatiq_form(cell, os.cpu_count() or 1)
    assert "--prefetch-multiplier=16" in celery_command(cell, 16)
    assert f"dramatiq_queue_prefetch={16 * threads}" in dramatiq_command(cell, 16)
    assert not [part for part in celery_command(cell) if "prefetch" in part]
    assert not [part for part in dramatiq_command(cell) if "prefetch" in part]


@pytest.mark.parametrize("cell", CELLS)
def test_what_a_rival_takes_at_once_is_less_than_what_the_rate_leaves_out(cell: Cell) -> None:
    assert (rival_prefetch(cell) or 4) * cell.slots <= cell.messages / 10


def test_rivals_are_locked_apart_with_our_client() -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", RIVALS.read_text(), re.MULTILINE))
    ours = (CHECKOUT / "requirements" / "worker.txt").read_text()
    groups = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["dependency-groups"]
    assert {"celery", "dramatiq"} <= set(locked)
    assert f"pika=={locked['pika']} " in ours
    assert not [one for one in groups["dev"] if one.startswith(("celery", "dramatiq"))]
