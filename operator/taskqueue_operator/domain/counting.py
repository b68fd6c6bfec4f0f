"""Counts of Tasks, from the rows that `kubectl get` would print."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskqueue_api.conditions import read_time
from taskqueue_api.durations import parse_duration
from taskqueue_api.task import FINISHED_PHASES
from taskqueue_api.taskqueue import TaskCounts
from taskqueue_operator.domain.history import FinishedTask


@dataclass
class Tally:
    """Tasks of one namespace: their number by queue and phase, and their names.

    serves: whose Tasks are taken, by the name of the queue.
    finished: by queue, what the end of its Tasks is.
    version: `resourceVersion` of the list, the same on all its pages.
    """

    serves: Callable[[str], bool] = lambda _: True
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    finished: dict[str, list[FinishedTask]] = field(default_factory=dict)
    version: str = ""

    def add_page(self, table: Mapping[str, Any]) -> None:
        """Count one page of a Table. Raises ValueError when a column is not there."""
        definitions = table["columnDefinitions"]
        name, queue, status = _columns(definitions, ("Name", "Queue", "Status"))
        ends = _optional_columns(definitions, ("Finished", "TTL"))
        runs = _optional_columns(definitions, ("Run", "Rerun"))
        self.version = self.version or (table.get("metadata") or {}).get("resourceVersion", "")
        for row in table.get("rows") or ():
            cells = row["cells"]
            if not self.serves(cells[queue]):
                continue
            self.names.add(cells[name])
            by_phase = self.counts.setdefault(cells[queue], {})
            by_phase[cells[status]] = by_phase.get(cells[status], 0) + 1
            if runs and cells[runs[0]] != cells[runs[1]]:
                continue  # it is about to be started all over, and not to be deleted before
            if ends and cells[status] in FINISHED_PHASES:
                end, ttl = (cells[column] for column in ends)
                task = _read_finished(cells[name], cells[status], end, ttl)
                if task:
                    self.finished.setdefault(cells[queue], []).append(task)

    def of(self, queue: str) -> TaskCounts:
        """Return the counts of one TaskQueue."""
        by_phase = self.counts.get(queue, {})
        return TaskCounts(
            pending=by_phase.get("Pending", 0),
            running=by_phase.get("Running", 0),
            retrying=by_phase.get("Retrying", 0),
            succeeded=by_phase.get("Succeeded", 0),
            failed=by_phase.get("Failed", 0),
            cancelled=by_phase.get("Cancelled", 0),
        )


def _read_finished(name: str, phase: str, end: Any, ttl: Any) -> FinishedTask | None:
    """Return a finished Task; None: its end cannot be read, so nothing can be said of its age.

    The schema does not look into completionTime, and a person may have written it.
    """
    finished = read_time(end)
    try:
        own = parse_duration(ttl) if ttl else None
    except (TypeError, ValueError):
        return None
    return FinishedTask(name, phase, finished, own) if finished else None


def _optional_columns(
    definitions: Sequence[Mapping[str, Any]], wanted: Iterable[str]
) -> tuple[int, ...]:
    """Return where columns are; none: not all are there.

    A definition of Tasks without them is of a version that has not what they are needed for.
    """
    try:
        return _columns(definitions, wanted)
    except ValueError:
        return ()


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
