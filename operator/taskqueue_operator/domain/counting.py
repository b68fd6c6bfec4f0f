"""Counts of Tasks, from the rows that `kubectl get` would print."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskqueue_api.taskqueue import TaskCounts


@dataclass
class Tally:
    """Tasks of one namespace: their number by queue and phase, and their names."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def add_page(self, table: Mapping[str, Any]) -> None:
        """Count one page of a Table. Raises ValueError when a column is not there."""
        name, queue, status = _columns(table["columnDefinitions"], ("Name", "Queue", "Status"))
        for row in table.get("rows") or ():
            cells = row["cells"]
            self.names.add(cells[name])
            by_phase = self.counts.setdefault(cells[queue], {})
            by_phase[cells[status]] = by_phase.get(cells[status], 0) + 1

    def of(self, queue: str) -> TaskCounts:
        """Return the counts of one TaskQueue."""
        by_phase = self.counts.get(queue, {})
        return TaskCounts(
            pending=by_phase.get("Pending", 0),
            running=by_phase.get("Running", 0),
            retrying=by_phase.get("Retrying", 0),
            succeeded=by_phase.get("Succeeded", 0),
            failed=by_phase.get("Failed", 0),
        )


def _columns(definitions: Sequence[Mapping[str, Any]], wanted: Iterable[str]) -> tuple[int, ...]:
    positions = {definition["name"]: index for index, definition in enumerate(definitions)}
    return tuple(_position(positions, name) for name in wanted)


def _position(positions: Mapping[str, int], name: str) -> int:
    if name not in positions:
        raise ValueError(
            f"the API server's table of Tasks has no column '{name}': "
            "is the CustomResourceDefinition of another version installed?"
        )
    return positions[name]
