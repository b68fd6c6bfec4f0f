"""Tasks that end before they are started: cancelled, or too late; and those that start later."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from taskqueue_api.conditions import rfc3339
from taskqueue_api.names import NOT_BEFORE_MAX
from taskqueue_operator.domain.dispatching import DEADLINE_MARGIN
from taskqueue_operator.errors import ConflictError
from tests.operator.builders import NOW
from tests.operator.clock import settle
from tests.operator.services.dispatching import SECOND, World

SOON = NOW + 30 * SECOND


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.dispatcher.stop(0)
    await world.writer.stop()


def types(world: World, name: str) -> dict[str, str]:
    """Return a Task's conditions by type."""
    return {one["type"]: one["status"] for one in world.status(name)["conditions"]}


@pytest.mark.parametrize("opened", [True, False], ids=["published", "held"])
async def test_a_task_that_waits_is_cancelled(world: World, opened: bool) -> None:
    if opened:
        world.open()
    world.create("a")
    await settle()
    world.dispatcher.cancel(world.cluster.find("Task", "a"))
    await settle()
    assert world.status("a")["phase"] == "Cancelled"
    assert types(world, "a") == {"Succeeded": "False", "Finished": "True"}
    assert "completionTime" in world.status("a")
    world.open()
    await settle()
    assert len(world.rabbit.sent) == int(opened)


async def test_a_task_between_two_attempts_is_cancelled(world: World) -> None:
    world.open()
    world.fail("a")
    world.dispatcher.cancel(world.cluster.find("Task", "a"))
    await settle()
    status = world.status("a")
    assert status["phase"] == "Cancelled"
    assert "nextAttemptTime" not in status
    assert status["error"] == {"type": "Boom", "message": "why"}


async def test_one_that_was_started_meanwhile_is_left_to_its_worker(world: World) -> None:
    world.create("a")
    body = dict(world.cluster.find("Task", "a"))
    body["status"] = dict(body["status"])
    world.status("a")["phase"] = "Running"
    world.dispatcher.cancel(body)
    await settle()
    assert world.status("a")["phase"] == "Running"


@pytest.mark.parametrize("opened", [True, False], ids=["published", "held"])
async def test_a_task_that_waits_past_its_deadline_has_failed(world: World, opened: bool) -> None:
    if opened:
        world.open()
    world.create("a", spec={"deadline": rfc3339(SOON)})
    await settle()
    world.now = SOON + DEADLINE_MARGIN
    world.dispatcher.fail_late()
    await settle()
    assert world.status("a")["phase"] == "Pending"
    world.now += SECOND
    world.dispatcher.fail_late()
    await settle()
    status = world.status("a")
    assert (status["phase"], status["error"]["type"]) == ("Failed", "DeadlineExceeded")
    assert f"attempt 1 was not started before the deadline, {rfc3339(SOON)}" in str(status["error"])
    world.open()
    await settle()
    assert len(world.rabbit.sent) == int(opened)


async def test_a_deadline_ends_the_wait_for_another_attempt_too(world: World) -> None:
    world.open()
    world.fail("a", attempts=2, spec={"deadline": rfc3339(SOON)})
    world.now = SOON + DEADLINE_MARGIN + SECOND
    world.dispatcher.fail_late()
    await settle()
    status = world.status("a")
    assert (status["phase"], status["error"]["type"]) == ("Failed", "DeadlineExceeded")
    assert "attempt 3" in status["error"]["message"]
    assert "nextAttemptTime" not in status


async def test_who_started_in_time_is_not_failed(world: World) -> None:
    world.open()
    world.create("a", spec={"deadline": rfc3339(SOON)})
    await settle()
    world.leave("a")
    world.now = SOON + DEADLINE_MARGIN + SECOND
    world.dispatcher.fail_late()
    await settle()
    assert world.status("a")["phase"] == "Running"


async def test_workers_are_told_of_the_deadline(world: World) -> None:
    world.open()
    world.create("a", spec={"deadline": rfc3339(SOON)})
    await settle()
    headers = world.rabbit.sent[0].properties.headers
    assert headers is not None
    assert headers["x-tq-deadline-ms"] == int(SOON.timestamp() * 1000)


async def test_a_task_for_later_goes_over_the_ladder(world: World) -> None:
    world.open()
    world.create("a", spec={"notBefore": rfc3339(NOW + timedelta(milliseconds=12_800))})
    world.create("b", spec={"notBefore": rfc3339(NOW - SECOND)})
    await settle()
    later, now = world.rabbit.sent
    # Moments are written in whole seconds here: 12 s are 120 units of 100 ms.
    assert later.key == f"{'.'.join(f'{120:026b}')}.tq.shop.emails"
    assert now.key == "tq.shop.emails"
    assert (later.properties.headers or {})["x-tq-delayed"] is True


async def test_what_the_ladder_cannot_reach_is_refused(world: World) -> None:
    world.open()
    world.create("near", spec={"notBefore": rfc3339(NOW + NOT_BEFORE_MAX)})
    world.create("far", spec={"notBefore": rfc3339(NOW + NOT_BEFORE_MAX + timedelta(days=2))})
    await settle()
    assert world.status("near")["phase"] == "Pending"
    assert world.status("far")["error"]["type"] == "NotBeforeTooLate"
    assert "at most 77 days" in world.status("far")["error"]["message"]


async def test_one_for_later_that_is_lost_is_published_again(world: World) -> None:
    world.open()
    world.create("a", spec={"notBefore": rfc3339(SOON)})
    world.create("b")
    await settle()
    world.dispatcher.ladder_lost(next(iter(world.dispatcher._lanes)))
    await asyncio.sleep(11)
    await settle()
    assert [item.uid for item in world.rabbit.sent] == ["uid-a", "uid-b", "uid-a"]


async def test_deadlines_of_finished_tasks_are_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue_operator.services.dispatcher.DEADLINES_SPARE", 10)
    world.create("stays", spec={"deadline": rfc3339(SOON)})
    for number in range(50):
        world.create(f"t{number}", spec={"deadline": rfc3339(SOON)})
        world.leave(f"t{number}")
    assert len(world.dispatcher._deadlines) <= 15
    world.now = SOON + DEADLINE_MARGIN + SECOND
    world.dispatcher.fail_late()
    await settle()
    assert world.status("stays")["phase"] == "Failed"


async def test_a_write_that_the_api_server_gave_up_is_tried_again(world: World) -> None:
    world.create("a")
    world.cluster.faults["patch"] = [ConflictError(409, "too many writers")]
    world.dispatcher.cancel(world.cluster.find("Task", "a"))
    await asyncio.sleep(5)
    assert world.status("a")["phase"] == "Cancelled"
