"""An event loop whose time jumps: whenever nothing is left to do, to the next timer.

`await asyncio.sleep(30)` takes no time, and returns after everything that was due before. Only
for tests without sockets: what comes from outside would always come too late.
"""

import asyncio
import selectors


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(None if timeout is None else 0)
        if not events and timeout:
            self.now += timeout
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on fake time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the fake time, seconds."""
        return self._jumping.now


async def settle() -> None:
    """Let everything happen that needs no time."""
    await asyncio.sleep(0.001)
