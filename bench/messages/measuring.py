"""Measure the systems in turns, so that what disturbs the machine disturbs all of them."""

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
                    readings.add(cell.figure(name), "1/s", _rate(system, cell))
            for name in SYSTEMS:
                seconds = systems[name].publish(_PUBLICATIONS, _WARM_UP)
                readings.add(publish_figure(name), "1/s", _PUBLICATIONS / seconds)


def _rate(system: System, cell: Cell) -> float:
    rate = drain_rate(system.drain(cell))
    if cell.fastest is not None and rate > cell.fastest * _TOO_FAST:
        raise RuntimeError(f"{rate:.0f}/s is more than the handlers of {cell} can have run")
    return rate
