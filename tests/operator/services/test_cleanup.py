"""Finished Tasks are deleted when they should be, and nothing else ever is."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from taskqueue_api.conditions import parse_time, rfc3339
from taskqueue_api.durations import parse_duration
from taskqueue_api.history import HistorySpec
from taskqueue_operator import metrics
from taskqueue_operator.domain.counting import Tally
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.history import REASONS, FinishedTask
from taskqueue_operator.errors import ClusterError, ClusterUnavailableError
from taskqueue_operator.services import cleanup
from taskqueue_operator.services.cleanup import PARALLEL, REFUSALS_MOST, TROUBLE_PAUSE, Cleanup
from tests.operator.builders import KEY, NOW, build_task
from tests.operator.clock import settle
from tests.operator.fakes import FakeCluster

AT_ONCE = HistorySpec(succeeded="0s", failed="0s")
TRACKED = {"annotations": {"argocd.argoproj.io/tracking-id": "shop:task"}}


class World:
    """Finished Tasks of TaskQueue `emails`, which deletes them at once."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.histories: dict[QueueKey, HistorySpec] = {KEY: AT_ONCE}
        self.clock = NOW
        self.looks: list[tuple[str, datetime]] = []
        self.version = 10
        self.cleanup = Cleanup(
            self.cluster,
            history_of=lambda key: self.histories.get(key),
            look_again=lambda namespace, moment: self.looks.append((namespace, moment)),
            now=lambda: self.clock,
        )

    def add(
        self,
        name: str,
        minutes_ago: float = 1,
        *,
        namespace: str = "shop",
        metadata: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> None:
        """Let there be a Task that has succeeded."""
        end = rfc3339(NOW - timedelta(minutes=minutes_ago))
        status = {"phase": "Succeeded", "completionTime": end}
        body = build_task(name, spec=spec, status=status)
        body["metadata"] |= {"namespace": namespace, "resourceVersion": str(self.version)}
        body["metadata"] |= metadata or {}
        self.cluster.add(body)

    def add_all(self, count: int) -> None:
        """Let there be so many, the first one being the oldest."""
        for number in range(count):
            self.add(f"t{number:03}", 1000 - number)

    def recreate(self, name: str) -> None:
        """Let somebody delete a Task and create another of its name."""
        self.version += 1
        body = build_task(name, uid=f"uid-{name}-2")
        body["metadata"]["resourceVersion"] = str(self.version)
        self.cluster.add(body)

    @property
    def names(self) -> list[str]:
        """The Tasks that there are."""
        return sorted(name for _, _, name in self.cluster.objects)

    def list(self, namespace: str = "shop") -> None:
        """Let the Tasks of a namespace be listed."""
        tally = Tally(version=str(self.version))
        for (_, there, name), body in self.cluster.objects.items():
            end, ttl = body["status"].get("completionTime"), body["spec"].get("ttlAfterFinished")
            if there == namespace and end:
                own = parse_duration(ttl) if ttl else None
                task = FinishedTask(name, body["status"]["phase"], parse_time(end), own)
                tally.finished.setdefault(body["spec"]["queue"], []).append(task)
        self.looks.clear()
        self.cleanup.listed(namespace, tally)

    async def cleaned(self, namespace: str = "shop") -> None:
        """Let a namespace be listed, and what follows from it be done."""
        self.list(namespace)
        await asyncio.sleep(1)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    running = asyncio.create_task(world.cleanup.run())
    await settle()
    yield world
    running.cancel()
    for queue in ("emails", ""):
        for reason in REASONS:
            metrics.TASKS_DELETED.remove("shop", queue, reason)


def deleted(reason: str, queue: str = "emails") -> float | None:
    """Return what the metric counts."""
    labels = {"namespace": "shop", "queue": queue, "reason": reason}
    return REGISTRY.get_sample_value("taskqueue_tasks_deleted_total", labels)


async def test_what_is_due_is_read_and_deleted_and_counted(world: World) -> None:
    world.histories[KEY] = HistorySpec(succeeded="5m", limit=1)
    for name, minutes_ago in (("old", 6), ("middle", 4), ("new", 3)):
        world.add(name, minutes_ago)
    world.recreate("unfinished")
    await world.cleaned()
    assert world.names == ["new", "unfinished"]
    assert (deleted("age"), deleted("limit")) == (1, 1)
    assert [(one.verb, one.name) for one in world.cluster.requests if one.verb == "delete"] == [
        ("delete", "old"),
        ("delete", "middle"),
    ]
    assert world.cluster.count("metadata") == 2
    # The counts are others now.
    assert world.looks[-1] == ("shop", NOW)


async def test_at_rest_nothing_is_asked_and_nothing_planned(world: World) -> None:
    world.histories[KEY] = HistorySpec(limit=5)
    world.add("kept")
    for _ in range(10):
        await world.cleaned()
    assert (world.cluster.requests, world.looks) == ([], [])


async def test_the_next_list_is_planned_for_when_the_next_task_is_due(world: World) -> None:
    world.histories[KEY] = HistorySpec(succeeded="5m")
    world.add("first", 3)
    world.add("second", 1)
    world.add("own", 1, ttlAfterFinished="10m")
    await world.cleaned()
    assert world.looks == [("shop", NOW + timedelta(minutes=2))]
    assert world.cluster.requests == []


async def test_without_a_taskqueue_only_an_own_ttl_deletes(world: World) -> None:
    world.histories.clear()
    world.add("mine", ttlAfterFinished="30s")
    world.add("plain")
    await world.cleaned()
    assert world.names == ["plain"]
    assert (deleted("age", ""), deleted("age")) == (1, None)


async def test_a_namesake_created_after_the_list_is_not_touched(world: World) -> None:
    world.add("again")
    world.list()
    world.recreate("again")
    await asyncio.sleep(1)
    assert world.cluster.find("Task", "again")["metadata"]["uid"] == "uid-again-2"
    assert world.cluster.count("delete") == 0


async def test_a_namesake_created_after_it_was_read_is_not_deleted(world: World) -> None:
    gate = world.cluster.gates["delete"] = asyncio.Event()
    world.add("again")
    await world.cleaned()
    world.recreate("again")
    gate.set()
    await asyncio.sleep(1)
    assert world.cluster.find("Task", "again")["metadata"]["uid"] == "uid-again-2"
    assert world.cluster.count("delete") == 1
    assert deleted("age") is None


async def test_a_label_put_on_it_at_the_last_moment_saves_it(world: World) -> None:
    gate = world.cluster.gates["delete"] = asyncio.Event()
    world.add("tracked")
    await world.cleaned()
    world.cluster.find("Task", "tracked")["metadata"] |= {**TRACKED, "resourceVersion": "11"}
    gate.set()
    await asyncio.sleep(1)
    assert world.names == ["tracked"]


async def test_what_gitops_tracks_stays_and_is_read_once(world: World) -> None:
    world.add("tracked", metadata=TRACKED)
    for _ in range(5):
        await world.cleaned()
    assert world.names == ["tracked"]
    assert (world.cluster.count("metadata"), world.cluster.count("delete")) == (1, 0)
    # Some day it may be tracked no longer.
    assert world.looks == [("shop", NOW + timedelta(hours=1))]


async def test_what_gitops_tracks_goes_as_soon_as_it_is_asked_for(world: World) -> None:
    world.add("tracked", metadata=TRACKED)
    await world.cleaned()
    world.histories[KEY] = HistorySpec(succeeded="0s", git_ops=True)
    await world.cleaned()
    assert world.names == []


async def test_what_is_gone_already_is_fine(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.add("gone")
    world.list()
    world.cluster.objects.clear()
    await asyncio.sleep(1)
    assert caplog.records == []
    assert deleted("age") is None
    assert world.looks == [("shop", NOW)]


async def test_what_is_being_deleted_is_left_to_whoever_holds_it(world: World) -> None:
    world.add("held", metadata={"deletionTimestamp": rfc3339(NOW)})
    for _ in range(5):
        await world.cleaned()
    assert (world.cluster.count("metadata"), world.cluster.count("delete")) == (1, 0)


@pytest.mark.parametrize("verb", ["metadata", "delete"])
async def test_an_api_server_that_is_away_is_asked_again_later(
    world: World, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.add_all(100)
    world.cluster.faults[verb] = [ClusterUnavailableError(503, "away")] * 100
    await world.cleaned()
    assert len(world.names) == 100
    # One try each for those that were under way.
    assert world.cluster.count(verb) <= PARALLEL
    (record,) = caplog.records
    assert "away" in record.getMessage()
    assert world.looks == [("shop", NOW + TROUBLE_PAUSE)]
    world.cluster.faults.clear()
    await world.cleaned()
    assert world.names == []


async def test_a_refusal_is_told_once_and_stops_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.add_all(20)
    world.cluster.faults["delete"] = [ClusterError(403, "admission says no")] * 2
    await world.cleaned()
    assert world.names == ["t000", "t001"]
    (record,) = (one for one in caplog.records if one.levelname == "WARNING")
    assert record.getMessage() == (
        "2 finished Tasks not deleted; the first, 't000': admission says no"
    )
    assert record.__dict__["namespace"] == "shop"
    for _ in range(5):
        await world.cleaned()
    assert world.cluster.count("delete") == 20
    assert world.looks == [("shop", NOW + timedelta(minutes=5))]
    world.clock = NOW + timedelta(minutes=5)
    await world.cleaned()
    assert world.names == []


async def test_where_everything_is_refused_a_round_ends_early(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.add_all(1000)
    world.cluster.faults["metadata"] = [ClusterError(403, "no right")] * 1000
    await world.cleaned()
    assert REFUSALS_MOST <= world.cluster.count("metadata") < REFUSALS_MOST + PARALLEL
    assert len(caplog.records) == 2
    assert world.looks == [("shop", NOW + TROUBLE_PAUSE)]


async def test_an_error_of_our_own_ends_the_round_and_not_the_cleanup(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.add("bad", metadata={"resourceVersion": "no number"})
    await world.cleaned()
    assert "cleanup failed" in caplog.text
    assert world.looks == [("shop", NOW + TROUBLE_PAUSE)]
    world.cluster.objects.clear()
    world.add("good")
    await world.cleaned()
    assert world.names == []


async def test_deletions_run_side_by_side_and_not_too_many(world: World) -> None:
    gate = world.cluster.gates["metadata"] = asyncio.Event()
    world.add_all(600)
    await world.cleaned()
    assert world.cluster.count("metadata") == PARALLEL
    gate.set()
    await asyncio.sleep(1)
    assert world.names == []
    assert world.cluster.count("metadata") == world.cluster.count("delete") == 600


async def test_a_round_takes_so_many_and_the_next_one_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "ROUND_MOST", 30)
    world.add_all(40)
    await world.cleaned()
    assert world.names == [f"t{number:03}" for number in range(30, 40)]
    assert world.looks[-1] == ("shop", NOW)
    await world.cleaned()
    assert world.names == []


async def test_a_round_of_tracked_tasks_does_not_keep_the_others_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "ROUND_MOST", 1)
    world.add("tracked", 9, metadata=TRACKED)
    world.add("other", 5)
    await world.cleaned()
    assert world.looks[-1] == ("shop", NOW)
    await world.cleaned()
    assert world.names == ["tracked"]


@pytest.mark.parametrize(
    "now",
    [
        pytest.param({}, id="the TaskQueue is gone"),
        pytest.param({KEY: HistorySpec()}, id="the history was taken away"),
        pytest.param({KEY: HistorySpec(succeeded="1h")}, id="the age was raised"),
    ],
)
async def test_a_change_of_mind_counts_at_once(
    world: World, now: dict[QueueKey, HistorySpec]
) -> None:
    gate = world.cluster.gates["metadata"] = asyncio.Event()
    world.add_all(100)
    await world.cleaned()
    world.histories = now
    gate.set()
    await asyncio.sleep(1)
    assert len(world.names) == 100 - PARALLEL
    assert world.looks[-1] == ("shop", NOW)


async def test_a_list_that_comes_meanwhile_is_made_again_afterwards(world: World) -> None:
    gate = world.cluster.gates["metadata"] = asyncio.Event()
    world.add("tracked", metadata=TRACKED)
    await world.cleaned()
    world.add("later")
    world.list()
    assert world.looks == []
    gate.set()
    await asyncio.sleep(1)
    assert world.names == ["later", "tracked"]
    assert world.looks == [("shop", NOW)]
    await world.cleaned()
    assert world.names == ["tracked"]


async def test_a_namespace_with_many_does_not_hold_up_another(world: World) -> None:
    world.add_all(900)
    world.add("small", namespace="elsewhere", ttlAfterFinished="0s")
    world.list()
    world.list("elsewhere")
    await asyncio.sleep(1)
    order = [one.name for one in world.cluster.requests if one.verb == "delete"]
    assert len(order) == 901
    assert order.index("small") < 300
    metrics.TASKS_DELETED.remove("elsewhere", "", "age")


async def test_one_that_is_to_be_run_again_since_it_was_listed_is_kept(world: World) -> None:
    world.add("again")
    world.list()
    body = world.cluster.find("Task", "again")
    body["spec"]["rerun"] = 1
    body["metadata"]["resourceVersion"] = str(world.version + 1)
    await asyncio.sleep(1)
    assert world.names == ["again"]
