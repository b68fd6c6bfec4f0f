"""What workers may read follows their TaskQueue, and nothing else does."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.operator.clock import settle
from tests.operator.services.reconciling import World

HANDLERS = {"python": {"module": "shop.tasks"}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.requests.stop()
    await world.dispatcher.stop(0)
    await settle()


async def readable(world: World, **workers: Any) -> dict[str, list[str]]:
    """Return the names that the Role of workers with this spec allows to read, by resource."""
    await world.reconcile(spec={"workers": {"handlers": HANDLERS, **workers}})
    rules = world.cluster.find("Role", "tq-emails")["rules"]
    assert not [rule for rule in rules if rule.get("resourceNames") == []]
    return {
        resource: rule["resourceNames"]
        for rule in rules
        for resource in rule["resources"]
        if "resourceNames" in rule
    }


async def test_it_is_granted_and_taken_back_with_the_list(world: World) -> None:
    assert await readable(world) == {}
    one = {"secrets": ["cards"], "configMaps": ["orders"]}
    assert await readable(world, payloadSources=one) == {
        "secrets": ["cards"],
        "configmaps": ["orders"],
    }
    assert await readable(world, payloadSources={"secrets": ["keys"]}) == {"secrets": ["keys"]}
    assert await readable(world, payloadSources={"secrets": []}) == {}


async def test_a_longer_list_writes_the_role_alone(world: World) -> None:
    await readable(world)
    world.cluster.requests.clear()
    await readable(world, payloadSources={"secrets": ["cards"]})
    applied = [one.kind for one in world.cluster.requests if one.verb == "apply"]
    # The TaskQueue's own status comes with every edit.
    assert [kind for kind in applied if kind != "TaskQueue"] == ["Role"]
