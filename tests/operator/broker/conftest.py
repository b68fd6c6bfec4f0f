"""The edge to RabbitMQ is tested on fake time, but for what is served over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from tests.operator.broker.server import Server
from tests.operator.clock import JumpingLoop, LeapingLoop


def pytest_asyncio_loop_factories(
    config: object, item: pytest.Function
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of this folder on a loop whose time jumps; with a server, on one that leaps."""
    if "server" in item.fixturenames:
        return {"leaping": LeapingLoop}
    return {"jumping": JumpingLoop}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Serve a management API."""
    server = Server()
    await server.start()
    yield server
    await server.stop()
