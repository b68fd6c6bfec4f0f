"""Limits of dead letters are set, repaired and taken away, and no Task depends on it."""

import pytest

from taskqueue_operator.errors import ManagementError, ManagementUnavailableError
from taskqueue_operator.services.letter_limits import LetterLimits
from tests.operator.builders import ADDRESS, KEY
from tests.operator.clock import settle
from tests.operator.services.reconciling import World

DEAD = "tqd.shop.emails"
SPEC = {"deadLetter": {"maxLength": 5, "ttl": "1m"}}
DEFINITION = {"max-length": 5, "message-ttl": 60_000}


@pytest.fixture
def world(reconciling_world: World) -> World:
    return reconciling_world


async def limits(world: World, **changes: object) -> tuple[str, str]:
    """Reconcile; return what the condition says."""
    return (await world.reconcile(**changes))["DeadLetterLimits"]


async def test_they_are_set_and_repaired(world: World) -> None:
    assert await limits(world, spec=SPEC) == ("True", "LimitsSet")
    assert world.brokers.api.policies[DEAD]["definition"] == DEFINITION
    world.brokers.api.policies.clear()
    assert await limits(world, spec=SPEC) == ("True", "LimitsSet")
    assert world.brokers.api.policies[DEAD]["definition"] == DEFINITION


async def test_they_follow_the_spec_and_go_with_it(world: World) -> None:
    await limits(world, spec=SPEC)
    await limits(world, spec={"deadLetter": {"ttl": "1h"}})
    assert world.brokers.api.policies[DEAD]["definition"] == {"message-ttl": 3_600_000}
    assert await limits(world) == ("True", "QueueDefault")
    assert world.brokers.api.policies == {}


async def test_a_policy_that_goes_before_ours_is_seen_at_the_next_look(world: World) -> None:
    # At once RabbitMQ would show what applied before.
    world.brokers.api.applied = "all"
    assert await limits(world, spec=SPEC) == ("True", "LimitsSet")
    assert await limits(world, spec=SPEC) == ("False", "OtherPolicy")
    world.brokers.api.applied = None
    assert await limits(world, spec=SPEC) == ("True", "LimitsSet")


async def test_without_a_management_api_the_queue_is_ready_all_the_same(world: World) -> None:
    await world.reconcile(spec=SPEC)
    world.workers_ready()
    await settle()
    world.brokers.api.error = ManagementUnavailableError("cannot be reached")
    conditions = await world.reconcile(spec=SPEC)
    assert conditions["DeadLetterLimits"] == ("False", "ManagementUnavailable")
    assert conditions["WorkerCredentials"] == ("Unknown", "ManagementUnavailable")
    assert conditions["Ready"] == ("True", "Ready")


async def test_while_the_broker_is_away_nothing_is_said_of_them(world: World) -> None:
    world.link.lose()
    assert await limits(world, spec=SPEC) == ("Unknown", "BrokerNotReady")


async def test_taking_them_away_fails_where_there_is_no_management_api(world: World) -> None:
    world.brokers.api.error = ManagementUnavailableError("cannot be reached")
    with pytest.raises(ManagementError):
        await LetterLimits(world.brokers).remove(KEY, ADDRESS)
