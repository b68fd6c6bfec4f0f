"""The loop whose time jumps ends a test that never would."""

import asyncio
import itertools

import pytest

from tests.operator import clock
from tests.operator.clock import JumpingLoop


def test_a_test_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "JUMPS_MOST", 100)

    async def never_end() -> None:
        for _ in itertools.count():
            await asyncio.sleep(1)

    loop = JumpingLoop()
    monkeypatch.setattr(clock, "IDLE_SECONDS", 0.01)
    with pytest.raises(RuntimeError, match="nothing is left"):
        loop.run_until_complete(loop.create_future())
    endless = loop.create_task(never_end())
    with pytest.raises(RuntimeError, match="never ends"):
        loop.run_until_complete(endless)
    loop._jumping.jumps = 0
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(endless)
    loop.close()
