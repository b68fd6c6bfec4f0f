"""An operator whose lease is over publishes nothing, whatever it was just about to do."""

import asyncio

from taskqueue_operator.domain.leadership import DEADLINE_SECONDS, Identity
from taskqueue_operator.services.lease import Lease, LeaseName
from tests.operator.clock import settle
from tests.operator.leases import LeaseClient, LeaseServer
from tests.operator.services.dispatching import World


async def test_nothing_is_published_without_the_lease_and_all_of_it_with_it_again(
    world: World,
) -> None:
    world.leads = lambda: False
    world.open()
    world.create("a", "b")
    await asyncio.sleep(60)
    world.dispatcher.wake()
    await settle()
    assert world.rabbit.sent == []
    world.leads = lambda: True
    world.dispatcher.wake()
    await settle()
    assert world.rabbit.uids == ["uid-a", "uid-b"]


async def test_a_lease_that_ends_amid_a_batch_ends_the_batch(world: World) -> None:
    answers = iter([True] * 50)
    world.leads = lambda: next(answers, False)
    world.create(*(f"task-{n}" for n in range(300)))
    world.open()
    await asyncio.sleep(60)
    world.dispatcher.wake()
    await settle()
    # One answer is for the batch itself.
    assert len(world.rabbit.sent) == 49


async def test_a_process_that_was_stopped_publishes_nothing_once_it_goes_on(
    world: World,
) -> None:
    """The loop goes on with what was ready, before any timer says that the lease is over."""
    loop = asyncio.get_running_loop()
    stopped_for = 0.0
    server = LeaseServer()
    lease = Lease(
        LeaseClient(server),
        LeaseName("system", "operator"),
        Identity("first_uid", "nonce"),
        clock=lambda: loop.time() + stopped_for,
    )
    assert await lease.acquire(asyncio.Event())
    world.leads = lease.leads
    world.open()
    world.create("before")
    await settle()
    # Seen, and to be published in the loop's very next turn; then somebody sends SIGSTOP.
    world.create("ready")
    stopped_for = DEADLINE_SECONDS + 13
    await settle()
    world.create("later")
    world.dispatcher.wake()
    await settle()
    assert world.rabbit.uids == ["uid-before"]


async def test_confirms_still_count_without_the_lease(world: World) -> None:
    """What RabbitMQ took while this operator led is published, and it may say so later."""
    world.rabbit.silent.add("tq.shop.emails")
    world.open()
    world.create("a")
    await settle()
    world.leads = lambda: False
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-a"]
