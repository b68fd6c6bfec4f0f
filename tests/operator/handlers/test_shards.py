"""What Kopf is shown of a watch."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from kopf._cogs.clients import watching
from kopf._core.reactor import queueing

from taskqueue_operator.domain.sharding import WHOLE, Shard, find_shard
from taskqueue_operator.handlers import shards
from tests.operator.builders import build_task, build_taskqueue


class Resource:
    """A kind, as far as it is asked for."""

    def __init__(self, plural: str) -> None:
        self.plural = plural


def event(body: dict[str, Any], kind: str | None = "ADDED") -> dict[str, Any]:
    return {"type": kind, "object": body}


TASK_EVENTS = [
    event(build_task("first", spec={"queue": "emails"}), None),
    watching.Bookmark.LISTED,
    event({"metadata": {"resourceVersion": "9"}}, "BOOKMARK"),
    event(build_task("second", spec={"queue": "emails"}), "DELETED"),
]
QUEUE_EVENTS = [event(build_taskqueue(), kind) for kind in (None, "MODIFIED", "DELETED")]


async def see(shard: Shard, plural: str, shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what Kopf takes from a watch."""

    async def stream(**_: Any) -> AsyncIterator[Any]:
        for one in shown:
            yield one

    monkeypatch.setattr(watching, "infinite_watch", stream)
    with shards.only(shard):
        # Where Kopf looks for it.
        found = cast(Any, queueing).watching.infinite_watch(
            settings=None, resource=Resource(plural), namespace=None
        )
        seen = [one async for one in found]
    assert watching.infinite_watch is stream
    return seen


@pytest.mark.parametrize(
    ("plural", "shown"), [("tasks", TASK_EVENTS), ("taskqueues", QUEUE_EVENTS)]
)
async def test_only_the_shard_of_a_queue_sees_it(
    monkeypatch: pytest.MonkeyPatch, plural: str, shown: list[Any]
) -> None:
    number = find_shard("shop", "emails", 3)
    told = [one for one in shown if isinstance(one, watching.Bookmark) or one["type"] == "BOOKMARK"]
    for one in range(1, 4):
        seen = await see(Shard(one, 3), plural, shown, monkeypatch)
        assert seen == (shown if one == number else told)


async def test_without_a_shard_kopf_is_left_as_it_is() -> None:
    before = watching.infinite_watch
    with shards.only(WHOLE):
        assert watching.infinite_watch is before
