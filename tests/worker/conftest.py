"""What the worker's tests share."""

import asyncio
import os
import select
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from tests.certificates import create_server_context
from tests.worker.http_server import HttpServer, running


def pytest_asyncio_loop_factories(
    config: pytest.Config,
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Have the tests' loops made by uvloop, as the worker's own is."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def has_ended() -> Callable[[int], bool]:
    """Wait for the end of a process that need not be a child of ours."""

    def wait(pid: int) -> bool:
        """Return False when it still runs after 5 s. A zombie has ended."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        with os.fdopen(descriptor) as process:
            return bool(select.select([process], [], [], 5)[0])

    return wait


@pytest.fixture
def server_context(tmp_path: Path) -> ssl.SSLContext:
    """Return what a server at 127.0.0.1 needs for the new `ca.crt` in tmp_path."""
    return create_server_context(tmp_path)


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    """Give an HTTP server for `http` handlers."""
    async with running() as started:
        yield started
