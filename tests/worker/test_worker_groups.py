"""Quick messages without a Task go to a slot several at a time, and none is lost of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from taskqueue_worker import metrics
from taskqueue_worker.deliveries import Tag
from taskqueue_worker.outcomes import Outcome, Success, failure
from taskqueue_worker.pace import Pace
from taskqueue_worker.runners import Ended, Job, OneByOne, PutBack
from tests.worker.bench import Bench, FakeTokens
from tests.worker.failing import FIXED, running


@dataclass
class Group:
    """What a slot was given. Ends when told."""

    jobs: Sequence[Job]
    ended: Ended
    put_back: PutBack
    place: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def names(self) -> list[str]:
        return [job.uid for job in self.jobs]

    def end(self, outcome: Outcome) -> None:
        """End the next one."""
        self.ended(self.place, outcome)
        self.place += 1

    def succeed(self, count: int) -> None:
        for _ in range(count):
            self.end(Success(None))


class Groups(OneByOne):
    """Runs nothing, and shows what it was given. alone: the job of a Task, which ends at once."""

    ahead = 3

    def __init__(self) -> None:
        self.given: asyncio.Queue[Group] = asyncio.Queue()
        self.alone: asyncio.Future[Job] = asyncio.get_running_loop().create_future()

    async def run(self, job: Job) -> Outcome:
        self.alone.set_result(job)
        return Success(None)

    async def prepare(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    async def run_some(self, jobs: Sequence[Job], ended: Ended, put_back: PutBack) -> None:
        group = Group(jobs, ended, put_back)
        self.given.put_nowait(group)
        await group.over.wait()

    async def next(self) -> Group:
        async with asyncio.timeout(5):
            return await self.given.get()


@dataclass
class Scene:
    """A worker with one slot that has a message, m1, and a pace."""

    bench: Bench
    groups: Groups
    first: Group

    def deliver(self, *numbers: int, **changes: Any) -> None:
        for number in numbers:
            fields = {"headers": {}, "message_id": f"m{number}"} | changes
            self.bench.deliver(number, **fields)

    async def following(self) -> Group:
        """End the first, and return what the slot is given next."""
        self.first.succeed(1)
        self.first.over.set()
        return await self.groups.next()

    @property
    def acked(self) -> list[int]:
        return [tag.number for tag in self.bench.broker.acked]

    @property
    def returned(self) -> list[int]:
        return [tag.number for tag in self.bench.broker.returned]


@asynccontextmanager
async def prepared(bench: Bench) -> AsyncIterator[Scene]:
    """Give a scene after many messages that took no time."""
    groups = Groups()
    bench.worker._executor._runner = groups
    for _ in range(100):
        bench.worker._pace.note(0)
    async with running(bench):
        bench.deliver(1, headers={}, message_id="m1")
        yield Scene(bench, groups, await groups.next())


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with prepared(Bench(retry=FIXED)) as scene:
        yield scene


async def test_as_many_as_there_are_and_a_slot_can_use(scene: Scene) -> None:
    scene.deliver(2, 3, 4, 5, 6)
    second = await scene.following()
    assert second.names == ["m2", "m3", "m4", "m5"]
    second.succeed(4)
    second.over.set()
    assert (await scene.groups.next()).names == ["m6"]
    assert scene.acked == [1, 2, 3, 4, 5]


async def test_one_at_a_time_when_handlers_are_not_quick(scene: Scene) -> None:
    scene.bench.worker._pace = Pace()
    scene.deliver(2, 3)
    assert (await scene.following()).names == ["m2"]


async def test_one_at_a_time_where_each_needs_tokens() -> None:
    """However quick they are: nor are more asked for, which would wait here for theirs."""
    async with prepared(Bench(retry=FIXED, tokens=FakeTokens(rate=5))) as scene:
        scene.deliver(2, 3)
        assert (await scene.following()).names == ["m2"]
        assert scene.bench.broker.asked == []


async def test_each_fails_for_itself(scene: Scene) -> None:
    scene.deliver(2, 3, 4)
    group = await scene.following()
    group.succeed(1)
    group.end(failure("Boom", "no"))
    group.succeed(1)
    await scene.bench.settled()
    assert [sent.uid for sent in scene.bench.broker.published] == ["m3"]
    assert sorted(scene.acked) == [1, 2, 3, 4]


async def test_one_without_a_handler_takes_no_slot(scene: Scene) -> None:
    scene.deliver(2)
    scene.deliver(3, type="nobody")
    scene.deliver(4)
    group = await scene.following()
    assert group.names == ["m2", "m4"]
    if 3 not in scene.acked:
        await scene.bench.settled()
    assert [(sent.uid, sent.error) for sent in scene.bench.broker.published] == [
        ("m3", "UnknownHandler")
    ]


async def test_what_is_put_back_waits_for_a_slot_again(scene: Scene) -> None:
    scene.deliver(2, 3, 4)
    group = await scene.following()
    group.put_back(1)
    group.put_back(2)
    group.succeed(1)
    group.over.set()
    again = await scene.groups.next()
    assert sorted(again.names) == ["m3", "m4"]
    again.succeed(2)
    assert sorted(scene.acked) == [1, 2, 3, 4]


async def test_what_is_put_back_and_finds_no_slot_goes_elsewhere(scene: Scene) -> None:
    scene.deliver(2, 3)
    group = await scene.following()
    scene.bench.worker._waiting._seconds = 0.0
    group.put_back(1)
    await scene.bench.settled()
    assert scene.returned == [3]
    assert not scene.bench.worker._pace.quick


async def test_a_drain_gives_back_what_a_slot_puts_back(scene: Scene) -> None:
    scene.deliver(2, 3)
    group = await scene.following()
    draining = asyncio.create_task(scene.bench.worker.drain(20))
    await asyncio.sleep(0)
    group.put_back(1)
    group.succeed(1)
    await draining
    assert (scene.acked, scene.returned) == ([1, 2], [3])


async def test_what_was_lost_with_its_connection_is_not_run_when_it_is_put_back(
    scene: Scene,
) -> None:
    scene.deliver(2, 3)
    group = await scene.following()
    scene.bench.connect_again()
    group.put_back(1)
    group.succeed(1)
    group.over.set()
    scene.deliver(3, session=2)
    again = await scene.groups.next()
    assert again.names == ["m3"]
    again.succeed(1)
    assert scene.bench.broker.acked[-1] == Tag(2, 3)


async def test_a_task_is_never_one_of_them(scene: Scene) -> None:
    scene.deliver(2)
    scene.bench.deliver(3)
    scene.deliver(4)
    group = await scene.following()
    assert group.names == ["m2"]
    group.succeed(1)
    group.over.set()
    async with asyncio.timeout(5):
        assert (await scene.groups.alone).uid == "uid-1"
    assert scene.groups.given.empty(), "it was its turn"
    assert (await scene.groups.next()).names == ["m4"]


def started() -> float:
    return float(metrics.STARTED.labels("echo")._value.get())


async def test_one_counts_as_started_when_it_begins(scene: Scene) -> None:
    before = started()  # m1 with it
    scene.deliver(2, 3, 4)
    group = await scene.following()
    assert started() == before + 1
    group.put_back(1)
    assert started() == before + 1
    group.succeed(1)
    assert started() == before + 2
