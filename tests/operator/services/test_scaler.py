"""The number of worker pods follows what is to be done, at once upwards and carefully downwards."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from taskqueue_api.conditions import rfc3339
from taskqueue_operator.broker.management import QueueTotals
from taskqueue_operator.domain.scaling import Decision
from taskqueue_operator.errors import ClusterUnavailableError, ManagementUnavailableError
from taskqueue_operator.services.scaling_reports import TOLD_SECONDS
from tests.operator.builders import KEY, NOW, build_taskqueue
from tests.operator.clock import settle
from tests.operator.services.reconciling import WORK
from tests.operator.services.scaling import Scaling, rounds, running, spec


@pytest.fixture
async def world() -> AsyncIterator[Scaling]:
    async for world in running(Scaling()):
        yield world


async def test_an_idle_queue_has_no_workers_and_one_comes_with_the_first_task(
    world: Scaling,
) -> None:
    conditions = await world.reconcile(spec=spec())
    assert world.pods == 0
    assert conditions["Ready"] == conditions["WorkersReady"] == ("True", "Idle")
    world.come("a")
    await asyncio.sleep(0.1)
    assert world.pods == 1
    assert (await world.condition())[:2] == ("True", "BacklogGrew")
    (event,) = [one for one in world.cluster.events if one[1] == "Scaled"]
    assert event[2].startswith("from 0 to 1 worker: BacklogGrew: ")


async def test_many_tasks_at_once_are_one_write(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    writes = world.cluster.count("apply", "Deployment")
    world.come(*(f"t{n}" for n in range(9)))
    await asyncio.sleep(0.1)
    assert world.pods == 4
    assert world.cluster.count("apply", "Deployment") == writes + 1


async def test_messages_of_outside_producers_count(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.brokers.api.totals = {WORK: QueueTotals(2, 1)}
    await rounds(2)
    assert world.pods == 3


async def test_workers_go_when_nothing_is_left_and_that_is_certain(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.come("a", "b")
    await asyncio.sleep(0.1)
    world.finish("a", "b")
    await rounds(4)
    assert world.pods == 1  # the last one stays for a while
    await rounds(4)
    assert world.pods == 0
    assert (await world.condition())[:2] == ("True", "Idle")


async def test_a_false_zero_takes_no_worker_away(world: Scaling) -> None:
    """As of a quorum queue without a leader, whoever answers for it."""
    await world.reconcile(spec=spec())
    world.brokers.api.totals = {WORK: QueueTotals(3, 0)}
    await rounds(2)
    assert world.pods == 3
    world.brokers.api.totals = {WORK: QueueTotals(0, 0)}
    world.rabbit.silent.add(WORK)
    await rounds(40)
    assert world.pods == 3
    assert (await world.condition())[:2] == ("Unknown", "BacklogUnknown")
    world.rabbit.silent.clear()
    world.rabbit.ready = {WORK: 3}  # it answers, and has messages
    await rounds(10)
    assert world.pods == 3
    world.rabbit.ready = {}
    await rounds(10)
    assert world.pods == 0


async def test_without_any_answer_of_rabbitmq_workers_only_come(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.come("a")
    await asyncio.sleep(0.1)
    world.brokers.api.totals = {}
    world.finish("a")
    await rounds(40)
    assert world.pods == 1
    world.come("b", "c")
    await asyncio.sleep(0.1)
    assert world.pods == 2


async def test_without_the_management_api_it_goes_on_and_says_so(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.brokers.api.error = ManagementUnavailableError("it is away")
    world.rabbit.ready = {WORK: 3}
    await rounds(2)
    assert world.pods == 3
    assert "it is away" in (await world.condition())[2]


async def test_delayed_tasks_count_once_they_are_due(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    due = NOW + timedelta(hours=1)
    world.come("later", spec={"notBefore": rfc3339(due)})
    await rounds(3)
    assert world.pods == 0
    world.now = due
    await rounds(1)
    assert world.pods == 1


async def test_a_paused_queue_has_no_workers_and_goes_on_at_once(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.come("a", "b")
    await asyncio.sleep(0.1)
    paused = {"generation": 2}
    conditions = await world.reconcile(spec=spec(paused=True), metadata=paused)
    assert world.pods == 0
    assert conditions["Ready"] == ("True", "Paused")
    assert conditions["Scaling"] == ("False", "Paused")
    world.come("c")
    await rounds(2)
    assert world.pods == 0
    await world.reconcile(spec=spec(), metadata={"generation": 3})
    assert world.pods == 3


async def test_each_change_of_the_number_is_told_whoever_applies_it(world: Scaling) -> None:
    await world.reconcile(spec=spec({"minReplicas": 2}))
    await asyncio.sleep(TOLD_SECONDS)
    await world.reconcile(spec=spec({"minReplicas": 2}, paused=True), metadata={"generation": 2})
    await settle()
    told = [
        text.partition(":")[0] for _, reason, text in world.cluster.events if reason == "Scaled"
    ]
    assert told == ["from 0 to 2 workers", "from 2 to 0 workers"]


async def test_pods_that_come_with_another_spec_are_of_that_spec(world: Scaling) -> None:
    """Else they would run what waits by the spec of before, say with its timeout."""
    await world.reconcile(spec=spec(timeout="1h"))
    seen: list[tuple[int, int]] = []
    apply = world.cluster.apply

    async def watch(manifest: Any, sub: str | None = None) -> dict[str, Any]:
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["spec"]
            grace = pod["terminationGracePeriodSeconds"]
            seen.append((manifest["spec"]["replicas"], grace))
        return await apply(manifest, sub)

    world.cluster.apply = watch  # type: ignore[method-assign]
    world.queues.seen(
        build_taskqueue(spec=spec({"minReplicas": 2}, timeout="1s"), metadata={"generation": 2})
    )
    world.come("a", "b", "c")  # before the reconcile
    await asyncio.sleep(0.1)
    await world.queues.reconcile(KEY)
    await asyncio.sleep(1)
    assert seen == [(3, 31)]


async def test_a_fixed_number_can_be_paused_too(world: Scaling) -> None:
    workers = {"handlers": {"python": {"module": "shop.tasks"}}, "replicas": 3}
    conditions = await world.reconcile(spec={"workers": workers})
    assert world.pods == 3
    assert "Scaling" not in conditions
    await world.reconcile(spec={"workers": workers, "paused": True}, metadata={"generation": 2})
    assert world.pods == 0
    conditions = await world.reconcile(spec={"workers": workers}, metadata={"generation": 3})
    assert world.pods == 3
    assert "Scaling" not in conditions  # nothing decides any more


async def test_the_next_operator_goes_on_with_the_workers_there_are(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.come("a", "b", "c")
    await asyncio.sleep(0.1)
    async for later in running(Scaling()):
        for body in world.cluster.objects.values():
            if body["kind"] in ("Deployment", "Secret"):
                references = body["metadata"].get("ownerReferences", [])
                body["metadata"]["ownerReferences"] = references
                later.cluster.add(body)
        await later.reconcile(spec=spec())
        assert later.pods == 3


async def test_what_keeps_pods_from_starting_keeps_more_from_coming(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.come("a")
    await asyncio.sleep(0.1)
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    metadata = {"name": "tq-emails-1"}
    world.cluster.pods = [{"metadata": metadata, "status": {"containerStatuses": [waiting]}}]
    await world.reconcile(spec=spec())
    world.come("b", "c")
    await asyncio.sleep(0.1)
    assert world.pods == 1
    status, reason, message = await world.condition()
    assert (status, reason) == ("False", "Blocked")
    assert "ImagePullBackOff" in message


async def test_what_the_api_server_refused_is_done_by_the_next_decision(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.cluster.faults["apply"] = [ClusterUnavailableError(0, "away")]
    world.come("a")
    await asyncio.sleep(0.1)
    assert world.pods == 0
    await rounds(1)
    assert world.pods == 1


async def test_a_cap_is_shared_and_the_condition_says_so() -> None:
    async for world in running(Scaling(cap=2)):
        await world.reconcile(spec=spec())
        world.come("a", "b", "c")
        await asyncio.sleep(0.1)
        assert world.pods == 2
        assert (await world.condition())[:2] == ("False", "CapReached")


async def test_a_queue_that_is_deleted_is_not_scaled_any_more(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    stamp = {"deletionTimestamp": rfc3339(NOW)}
    world.queues.seen(build_taskqueue(spec=spec(), metadata=stamp))
    world.come("a")
    await rounds(2)
    assert world.pods == 0


async def test_metrics_and_status_show_what_there_is_to_do(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.brokers.api.totals = {WORK: QueueTotals(7, 2)}
    await rounds(2)
    await settle()
    labels = {"namespace": "shop", "queue": "emails"}
    assert REGISTRY.get_sample_value("taskqueue_backlog", labels) == 9
    assert REGISTRY.get_sample_value("taskqueue_workers_desired", labels) == 4
    await world.board.flush()
    assert world.cluster.find("TaskQueue", "emails")["status"]["backlog"] == 9
    world.scaler.forget(KEY)
    assert REGISTRY.get_sample_value("taskqueue_backlog", labels) is None


async def test_steps_down_come_as_often_as_is_said(world: Scaling) -> None:
    down = {"stabilization": "0s", "maxStep": 1, "period": "3s"}
    await world.reconcile(spec=spec({"scaleDown": down, "idleBeforeZero": "0s"}))
    names = [f"t{n}" for n in range(16)]
    world.come(*names)
    await asyncio.sleep(0.1)
    assert world.pods == 4
    world.finish(*names)
    await rounds(2)
    seen = []
    for _ in range(6):
        seen.append(world.pods)
        await rounds(1)
    assert seen == sorted(seen, reverse=True)
    # With a look every 5 s; that the queue is empty indeed is asked before each step.
    assert (max(seen), min(seen)) == (3, 0)


async def test_an_event_tells_why_there_are_as_many_as_it_says(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.scaler.applied(KEY, 0)
    world.come("a", "b", "c")
    await asyncio.sleep(0.1)
    world.cluster.events.clear()
    # As when the next decision comes before the Deployment was given what the last one said.
    await asyncio.sleep(TOLD_SECONDS)
    queue = world.scaler._queues[KEY]
    queue.reasons = {2: Decision(2, "BacklogShrank", "why two")}
    world.scaler.applied(KEY, 2)
    await settle()
    (event,) = [one for one in world.cluster.events if one[1] == "Scaled"]
    assert event[2] == "from 3 to 2 workers: BacklogShrank: why two"


async def test_the_reason_of_a_number_that_is_wanted_meanwhile_is_told_with_it(
    world: Scaling,
) -> None:
    await world.reconcile(spec=spec())
    await asyncio.sleep(TOLD_SECONDS)
    queue = world.scaler._queues[KEY]
    two = Decision(2, "BacklogGrew", "why two")
    queue.replicas, queue.told = 2, 0
    queue.reasons = {1: Decision(1, "BacklogGrew", "why one"), 2: two}
    world.scaler.applied(KEY, 1)
    assert queue.reasons == {2: two}
    world.scaler.applied(KEY, 2)
    assert queue.reasons == {}
