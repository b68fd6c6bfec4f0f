"""Measure the systems in turns, so that what disturbs the machine disturbs all of them."""

import sys
from collections.abc import Iterable

from bench.figures import Readings
from bench.messages.plan import HANDLERS, SLOTS, SYSTEMS, Cell, publish_figure
from bench.messages.rates import drain_rate
from bench.messages.stage import open_stage
from bench.messages.systems import System, build_systems

_PUBLICATIONS = 2000
_WARM_UP = 200
_TOO_FAST = 1.05


def measure(readings: Readings, runs: int) -> None:
    """Add the rates of all handlers, slots and systems, and those of confirmed publications."""
    measure_cells(readings, runs, [Cell(name, slots) for name in HANDLERS for slots in SLOTS])


def measure_cells(
    readings: Readings, runs: int, cells: Iterable[Cell], *, defaults: bool = False
) -> None:
    """Add the rates of some cells, and those of confirmed publications.

    defaults: whether to measure the rivals as they come too.
    """
    chosen = list(cells)
    with open_stage() as stage:
        systems = build_systems(stage, defaults=defaults)
        for _ in range(runs):
            for cell in chosen:
                for name, system in systems.items():
                    _add(readings, cell.figure(name), _rate(system, cell))
            for name in SYSTEMS:
                seconds = systems[name].publish(_PUBLICATIONS, _WARM_UP)
                _add(readings, publish_figure(name), _PUBLICATIONS / seconds)


def _add(readings: Readings, name: str, rate: float) -> None:
    """Add what one run gave, and show it: all of them take minutes."""
    readings.add(name, "1/s", rate)
    print(f"{name}: {rate:.4g}/s", file=sys.stderr, flush=True)


def _rate(system: System, cell: Cell) -> float:
    rate = drain_rate(system.drain(cell))
    if cell.fastest is not None and rate > cell.fastest * _TOO_FAST:
        raise RuntimeError(f"{rate:.0f}/s is more than the handlers of {cell} can have run")
    return rate
