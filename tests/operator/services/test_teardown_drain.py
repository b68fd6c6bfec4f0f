"""A TaskQueue that is deleted waits for its workers, as long as their grace."""

from datetime import timedelta
from typing import Any

import pytest

from taskqueue_api.conditions import rfc3339
from taskqueue_operator.errors import (
    ClusterError,
)
from taskqueue_operator.services.teardown import (
    PATIENCE_SECONDS,
    DrainingError,
    NotYetError,
)
from tests.operator.builders import (
    NOW,
)
from tests.operator.services.tearing_down import DEAD, USER, WORK, World


@pytest.fixture
async def world() -> World:
    return World()


def stopping(after: timedelta) -> dict[str, Any]:
    """A worker's pod whose grace ends so long from now."""
    stamp = rfc3339(NOW + after)
    return {"metadata": {"deletionTimestamp": stamp}, "status": {"phase": "Running"}}


async def test_workers_keep_their_rights_until_they_have_finished_what_they_run(
    world: World,
) -> None:
    world.cluster.pods = [stopping(timedelta(hours=1))]
    with pytest.raises(DrainingError):
        await world.run("Delete", after=PATIENCE_SECONDS * 10)
    assert world.left == {WORK, DEAD}
    assert USER in world.brokers.api.users
    await world.board.flush()
    (condition,) = world.cluster.find("TaskQueue", "emails")["status"]["conditions"]
    assert condition["reason"] == "Deleting"
    assert world.told == ["Deleting"]
    assert [event[0] for event in world.cluster.events] == ["Normal"]
    world.cluster.pods = []
    await world.run("Delete")
    assert not world.left
    assert USER not in world.brokers.api.users


async def test_workers_on_a_lost_node_are_not_waited_for(world: World) -> None:
    world.cluster.pods = [stopping(timedelta(minutes=-1))]
    await world.run()
    assert not world.left


async def test_workers_that_nobody_tells_to_stop_are_waited_for_a_minute(world: World) -> None:
    world.cluster.pods = [{"metadata": {}, "status": {"phase": "Running"}}]
    with pytest.raises(NotYetError, match="not been told to stop"):
        await world.run(after=PATIENCE_SECONDS - 1)
    await world.run(after=PATIENCE_SECONDS)
    assert not world.left


async def test_workers_that_cannot_be_listed_are_waited_for_a_minute(world: World) -> None:
    world.cluster.faults["pods"] = [ClusterError(403, "may not list pods")] * 2
    with pytest.raises(NotYetError, match="may not list pods"):
        await world.run(after=PATIENCE_SECONDS - 1)
    await world.run(after=PATIENCE_SECONDS)
    assert not world.left
