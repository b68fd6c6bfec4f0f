"""The operator's few writes to Tasks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_operator.domain.dispatching import QUEUE_NOT_FOUND, Refusal, WaitingTask, read_task
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    NotFoundError,
)
from taskqueue_operator.services.errands import PARALLEL
from taskqueue_operator.services.task_writer import HELD_SECONDS, TaskWriter
from tests.operator.builders import KEY, build_rng, build_task
from tests.operator.clock import settle
from tests.operator.fakes import FakeCluster

AWAY = ClusterUnavailableError(503, "away")


class World:
    """A writer, and one held Task."""

    def __init__(self) -> None:
        self.cluster = FakeCluster(build_task("a"))
        self.writer = TaskWriter(self.cluster, build_rng())
        self.task = read_task(self.cluster.find("Task", "a"), listed=False)
        self.announced: list[tuple[float, WaitingTask]] = []
        self.left = 0

    def hold(self, reason: str = "QueueNotFound") -> None:
        """Hold the Task."""
        self.writer.held(self.task, reason, f"because of {reason}")

    def announce(self) -> None:
        """Announce the Task's second publication."""
        self.writer.announce(self.task, self.go_on)

    def go_on(self, task: WaitingTask | None) -> None:
        """Take note of what came of an announcement."""
        if task is None:
            self.left += 1
        else:
            self.announced.append((asyncio.get_running_loop().time(), task))

    @property
    def status(self) -> dict[str, Any]:
        """The Task's status as it is stored."""
        status: dict[str, Any] = self.cluster.find("Task", "a")["status"]
        return status

    @property
    def told(self) -> tuple[str, str] | None:
        """Status and reason of the Task's condition Dispatched."""
        for item in self.status["conditions"]:
            if item["type"] == "Dispatched":
                return item["status"], item["reason"]
        return None


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    writing = asyncio.create_task(world.writer.run())
    yield world
    writing.cancel()
    await world.writer.stop()
    await settle()


async def test_a_notice_is_written_only_after_a_while(world: World) -> None:
    world.hold()
    await asyncio.sleep(HELD_SECONDS - 0.01)
    assert world.cluster.requests == []
    await asyncio.sleep(0.3)
    assert world.told == ("False", "QueueNotFound")
    await asyncio.sleep(60)
    assert world.cluster.count("patch") == 1


@pytest.mark.parametrize("end", ["released", "published", "forgotten", "refused"])
async def test_a_notice_that_ends_before_is_never_written(world: World, end: str) -> None:
    world.hold()
    await asyncio.sleep(HELD_SECONDS - 0.1)
    match end:
        case "released":
            world.writer.released(KEY)
        case "published":
            world.writer.published(world.task)
        case "forgotten":
            world.writer.forget(world.task.uid)
        case "refused":
            world.writer.refuse(world.task, Refusal("TimeoutTooLong", "too long"))
    await asyncio.sleep(60)
    assert world.told is None
    assert world.cluster.count("patch") == (1 if end == "refused" else 0)


async def test_another_queues_release_leaves_a_notice_alone(world: World) -> None:
    world.hold()
    world.writer.released(KEY._replace(name="other"))
    await asyncio.sleep(10)
    assert world.told == ("False", "QueueNotFound")


async def test_a_notice_that_was_written_is_taken_back_once(world: World) -> None:
    world.hold()
    await asyncio.sleep(10)
    world.writer.released(KEY)
    world.writer.published(world.task)
    await asyncio.sleep(60)
    assert world.told == ("True", "Published")
    assert world.cluster.count("patch") == 2


async def test_a_task_held_again_before_it_is_told_otherwise_costs_nothing(world: World) -> None:
    world.hold()
    await asyncio.sleep(10)
    world.writer.published(world.task)
    world.hold()
    await asyncio.sleep(60)
    assert world.told == ("False", "QueueNotFound")
    assert world.cluster.count("patch") == 1


@pytest.mark.parametrize("end", ["released", "published"])
async def test_a_notice_that_is_being_written_as_it_ends_is_taken_back(
    world: World, end: str
) -> None:
    gate = world.cluster.gates["patch"] = asyncio.Event()
    world.hold()
    await asyncio.sleep(10)
    if end == "released":
        world.writer.released(KEY)
    world.writer.published(world.task)
    gate.set()
    await asyncio.sleep(60)
    assert world.told in (None, ("True", "Published"))


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ConflictError(422, "test failed"), id="another state"),
        pytest.param(NotFoundError(404, "gone"), id="gone"),
    ],
)
async def test_a_notice_that_comes_too_late_is_dropped(world: World, error: ClusterError) -> None:
    world.cluster.faults["patch"] = [error]
    world.hold()
    await asyncio.sleep(60)
    assert world.cluster.count("patch") == 1
    assert world.told is None


async def test_a_notice_is_tried_again_when_the_api_server_is_away(world: World) -> None:
    world.cluster.faults["patch"] = [AWAY, AWAY]
    world.hold()
    await asyncio.sleep(60)
    assert world.told == ("False", "QueueNotFound")
    assert world.cluster.count("patch") == 3


async def test_an_announcement_raises_dispatches_and_comes_back_10_s_later(world: World) -> None:
    begun = asyncio.get_running_loop().time()
    world.announce()
    await asyncio.sleep(60)
    ((moment, task),) = world.announced
    assert moment - begun == pytest.approx(10, abs=0.1)
    assert (task.dispatches, task.payload) == (2, world.task.payload)
    assert world.status["dispatches"] == 2
    assert world.cluster.count("patch") == 1


async def test_an_announcement_that_another_was_quicker_with_takes_the_next_number(
    world: World,
) -> None:
    world.status["dispatches"] = 5
    world.announce()
    await asyncio.sleep(60)
    assert [task.dispatches for _, task in world.announced] == [6]
    assert world.status["dispatches"] == 6


Change = Callable[[World], object]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda world: world.status.update(phase="Running"), id="it runs"),
        pytest.param(lambda world: world.status.update(phase="Succeeded"), id="it has ended"),
        pytest.param(lambda world: world.cluster.objects.clear(), id="it is gone"),
        pytest.param(lambda world: world.cluster.add(build_task("a", uid="b")), id="another"),
    ],
)
async def test_a_task_that_no_longer_waits_is_not_announced(world: World, change: Change) -> None:
    change(world)
    world.announce()
    await asyncio.sleep(60)
    assert world.announced == []
    assert world.left == 1
    assert world.status["dispatches"] == 1 if world.cluster.objects else True


async def test_an_announcement_is_tried_again_more_and_more_seldom(world: World) -> None:
    world.cluster.faults["patch"] = [AWAY] * 20
    world.announce()
    await asyncio.sleep(7)
    first = world.cluster.count("patch")
    assert 4 <= first <= 6
    await asyncio.sleep(300)
    assert first + 300 / 30 - 1 <= world.cluster.count("patch") <= first + 300 / 15 + 2
    world.cluster.faults.clear()
    await asyncio.sleep(60)
    assert [task.dispatches for _, task in world.announced] == [2]


async def test_an_announcement_that_is_forbidden_stops_nobody_and_is_tried_again(
    world: World,
) -> None:
    world.cluster.faults["patch"] = [ClusterError(403, "forbidden")] * (3 * PARALLEL)
    for _ in range(3 * PARALLEL):
        world.writer.announce(world.task, lambda _: None)
    world.announce()
    await settle()
    assert world.status["dispatches"] == 2
    await asyncio.sleep(60)
    assert [task.dispatches for _, task in world.announced] == [2]


async def test_tasks_that_take_no_write_hold_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Their spec was written by the rules of an earlier version, say.
    write = world.cluster.patch_task_status

    async def refuse_some(api: str, namespace: str, name: str, patch: Any) -> dict[str, Any]:
        if name != "a":
            raise ConflictError(422, "spec is invalid")
        return await write(api, namespace, name, patch)

    monkeypatch.setattr(world.cluster, "patch_task_status", refuse_some)
    for number in range(PARALLEL):
        body = world.cluster.add(build_task(f"bad-{number}"))
        world.writer.announce(read_task(body, listed=False), lambda _: None)
    world.announce()
    await asyncio.sleep(20)
    assert [task.dispatches for _, task in world.announced] == [2]


async def test_an_announcement_that_conflicts_for_no_reason_is_made_all_the_same(
    world: World,
) -> None:
    # 409 is also what the API server says of two writes at once.
    world.cluster.faults["patch"] = [ConflictError(409, "try again"), ConflictError(409, "again")]
    world.announce()
    await asyncio.sleep(60)
    assert [task.dispatches for _, task in world.announced] == [2]


async def test_a_refusal_fails_the_task_with_an_event(world: World) -> None:
    world.cluster.faults["patch"] = [AWAY]
    world.writer.refuse(world.task, Refusal("PayloadTooLarge", "40000 bytes"))
    await asyncio.sleep(60)
    assert (world.status["phase"], world.status["error"]["type"]) == ("Failed", "PayloadTooLarge")
    assert world.cluster.events == [("Warning", "PayloadTooLarge", "40000 bytes")]


async def test_a_refusal_that_comes_too_late_says_nothing(world: World) -> None:
    world.status["phase"] = "Running"
    world.writer.refuse(world.task, Refusal("PayloadTooLarge", "40000 bytes"))
    await asyncio.sleep(60)
    assert world.status["phase"] == "Running"
    assert world.cluster.events == []


async def test_a_hundred_thousand_ends_at_once_are_no_hundred_thousand_tasks(world: World) -> None:
    # As when all that waited past one deadline has failed.
    world.cluster.gates["patch"] = asyncio.Event()
    before = len(asyncio.all_tasks())
    for number in range(500):
        task = read_task(build_task(f"t{number}"), listed=False)
        world.writer.refuse(task, Refusal("DeadlineExceeded", "too late"))
        world.writer.cancel(task)
    await asyncio.sleep(1)
    assert len(asyncio.all_tasks()) - before <= PARALLEL


async def test_no_end_waits_behind_announcements(world: World) -> None:
    gate = world.cluster.gates["get"] = asyncio.Event()
    for _ in range(PARALLEL):
        world.writer.read(world.task, lambda _: None)
    world.writer.cancel(world.task)
    await asyncio.sleep(1)
    assert world.status["phase"] == "Cancelled"
    gate.set()


async def test_no_more_than_a_few_writes_run_at_once(world: World) -> None:
    gate = world.cluster.gates["patch"] = asyncio.Event()
    for number in range(PARALLEL + 5):
        body = world.cluster.add(build_task(f"t{number}"))
        world.writer.announce(read_task(body, listed=False), lambda _: None)
    await asyncio.sleep(1)
    assert world.cluster.count("patch") == PARALLEL
    gate.set()
    await asyncio.sleep(1)
    assert world.cluster.count("patch") == PARALLEL + 5


async def test_the_end_abandons_what_is_under_way(world: World) -> None:
    world.cluster.gates["patch"] = asyncio.Event()
    for _ in range(2 * PARALLEL):
        world.announce()
    await asyncio.sleep(1)
    await world.writer.stop()
    await asyncio.sleep(60)
    assert world.cluster.count("patch") == PARALLEL


async def test_what_was_to_be_published_of_the_run_before_waits_no_longer(world: World) -> None:
    world.status["run"] = 1
    world.announce()
    await asyncio.sleep(60)
    assert (world.left, world.announced) == (1, [])
    assert world.status["dispatches"] == 1


@pytest.mark.parametrize("before", ["", "QueueNotReady"])
async def test_one_for_later_is_told_at_once_that_its_taskqueue_is_gone(
    world: World, before: str
) -> None:
    later = replace(world.task, due=datetime.now(UTC) + timedelta(days=3))
    if before:
        world.writer.held(later, before, "not yet")
        await asyncio.sleep(60)
        assert world.told is None
    world.writer.held(later, QUEUE_NOT_FOUND, "there is none")
    await asyncio.sleep(HELD_SECONDS + 0.5)
    assert world.told == ("False", "QueueNotFound")
