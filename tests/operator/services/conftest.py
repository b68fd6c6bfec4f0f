"""Services are tested on fake time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from tests.operator.clock import JumpingLoop, settle
from tests.operator.services import reconciling
from tests.operator.services.dispatching import World


def pytest_asyncio_loop_factories(
    config: object, item: object
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of this folder on a loop whose time jumps."""
    return {"jumping": JumpingLoop}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Yield a dispatcher that runs; test modules with another world have a fixture of their own."""
    world = World()
    writing = asyncio.create_task(world.writer.run())
    yield world
    await world.dispatcher.stop(0.1)
    writing.cancel()
    await world.writer.stop()
    await settle()


@pytest.fixture
async def reconciling_world() -> AsyncIterator[reconciling.World]:
    """Yield a TaskQueue and all that the operator has for it."""
    world = reconciling.World()
    yield world
    world.requests.stop()
    await world.dispatcher.stop(0)
    await settle()
