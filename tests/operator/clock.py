"""Event loops whose time tests need not wait for.

JumpingLoop: whenever nothing is left to do, its time jumps to the next timer.
`await asyncio.sleep(30)` takes no time, and returns after everything that was due before. Only
for tests without sockets: what comes from outside would always come too late.

LeapingLoop: for tests with sockets. Its time is real, and a test puts it forward.
"""

import asyncio
import selectors

JUMPS_MOST = 1_000_000
"""More than any test needs. A test that never ends would jump for ever, and a timeout's exception
does not end it when it is raised within a task of the loop, which keeps it."""


IDLE_SECONDS = 30.0
"""Real seconds for something to come from another thread, when there is no timer."""


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.jumps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(IDLE_SECONDS if timeout is None else 0)
        if timeout is None and not events:
            raise RuntimeError("the test never ends: nothing is left to happen")
        if not events and timeout:
            self.now += timeout
            self.jumps += 1
            if self.jumps > JUMPS_MOST:
                raise RuntimeError("the test never ends: there is always another timer")
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on fake time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the fake time, seconds."""
        return self._jumping.now


class LeapingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on real time, plus what it was put forward."""

    ahead = 0.0

    def time(self) -> float:
        """Return the time, seconds."""
        return super().time() + self.ahead


def leap(seconds: float) -> None:
    """Put the running LeapingLoop forward."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, LeapingLoop)
    loop.ahead += seconds


async def settle() -> None:
    """Let everything happen that needs no time."""
    await asyncio.sleep(0.001)
