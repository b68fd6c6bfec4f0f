"""Handlers are tested on fake time."""

import asyncio
from collections.abc import Callable, Mapping

from tests.operator.clock import JumpingLoop


def pytest_asyncio_loop_factories(
    config: object, item: object
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of this folder on a loop whose time jumps."""
    return {"jumping": JumpingLoop}
