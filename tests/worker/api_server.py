"""An API server that is a list of answers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from taskqueue_worker.api import WriteAnswer
from taskqueue_worker.clock import ServerClock
from taskqueue_worker.statuses import Patch, TaskView

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class FakeApi:
    """Answers from lists, in order; keeps the patches.

    patches: what each set, by path. removed: the paths that each removed.
    """

    def __init__(
        self,
        reads: list[TaskView | None],
        writes: list[WriteAnswer],
        pod: Mapping[str, Any] | None = None,
    ) -> None:
        self.clock = ServerClock(lambda: NOW.timestamp())
        self.reads = reads
        self.writes = writes
        self.pod = pod
        self.patches: list[dict[str, Any]] = []
        self.removed: list[set[str]] = []

    async def get_task(self, _name: str) -> TaskView | None:
        return self.reads.pop(0)

    async def get_pod(self, _name: str) -> Mapping[str, Any] | None:
        return self.pod

    async def patch_status(self, _name: str, patch: Patch) -> WriteAnswer:
        removed = {entry["path"] for entry in patch if entry["op"] == "remove"}
        self.removed.append(removed)
        self.patches.append(
            {entry["path"]: entry["value"] for entry in patch if entry["path"] not in removed}
        )
        return self.writes.pop(0)
