"""What a handler needs before it starts, where its TaskQueue has limits: a token of each."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from taskqueue_worker import metrics
from taskqueue_worker.errors import BrokerError
from taskqueue_worker.tokens import Token

_log = logging.getLogger(__name__)

FIRST_SECONDS = 0.1
MAX_SECONDS = 0.5
FACTOR = 1.5
FAULT_SECONDS = 2.0
"""From one try to the next, while there is no such queue."""


class Permit:
    """The tokens of one handler. Without limits it has none, and needs none."""

    def __init__(self) -> None:
        self.rate: Token | None = None
        self.running: Token | None = None

    @property
    def is_held(self) -> bool:
        """Whether all of them are still ours."""
        return all(token.is_held for token in (self.rate, self.running) if token is not None)

    def spend(self) -> None:
        """Take note that its handler starts now."""
        rate, self.rate = self.rate, None
        if rate is not None:
            rate.spend()

    def give_back(self) -> None:
        """Give back what is left: that of a handler that runs no longer, or was never started."""
        tokens = [self.rate, self.running]
        self.rate = self.running = None
        for token in tokens:
            if token is not None:
                token.give_back()


class Limits:
    """The limits of a TaskQueue, as its queues of tokens. Empty: there is no such limit.

    take: returns a token of a queue; None: there is none now. Raises BrokerError.
    """

    def __init__(
        self,
        take: Callable[[str], Awaitable[Token | None]],
        rate: str = "",
        running: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._take = take
        self._rate = rate
        self._running = running
        self._sleep = sleep
        self._fault = ""
        # Who holds it asks, on behalf of all slots: they have their tokens in the order of waiting.
        self._turn = asyncio.Lock()

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return bool(self._rate or self._running)

    async def permit(self, wanted: Callable[[], bool]) -> Permit | None:
        """Wait for the tokens of a handler. None: it is not wanted any more.

        wanted: whether the handler is still to be started.
        """
        permit = Permit()
        if not self.exist:
            return permit
        with metrics.LIMITED.track_inprogress():
            async with self._turn:
                return permit if await self._fill(permit, wanted) else None

    async def start(self, permit: Permit) -> None:
        """Spend what a start takes, just before it.

        First takes tokens anew, where those of the permit went with their connection meanwhile.
        """
        while not permit.is_held:
            permit.give_back()
            async with self._turn:
                await self._fill(permit, lambda: True)
        permit.spend()

    async def _fill(self, permit: Permit, wanted: Callable[[], bool]) -> bool:
        """Get the tokens of a permit; False, and none of them, once it is not wanted any more."""
        while True:
            # In this order: the time for which a token may be held is counted from when it is
            # taken, and the one that is held longest is to be taken last.
            if self._rate:
                permit.rate = await self._wait(self._rate, wanted)
            if self._running and wanted():
                permit.running = await self._wait(self._running, wanted)
            if not wanted():
                permit.give_back()
                return False
            if permit.is_held:
                return True
            permit.give_back()

    async def _wait(self, queue: str, wanted: Callable[[], bool]) -> Token | None:
        pause = FIRST_SECONDS
        while wanted():
            try:
                token = await self._take(queue)
            except BrokerError as error:
                self._report(str(error))
                await self._sleep(FAULT_SECONDS)
                continue
            self._report("")
            if token is not None:
                return token
            await self._sleep(pause)
            pause = min(pause * FACTOR, MAX_SECONDS)
        return None

    def _report(self, fault: str) -> None:
        if fault and fault != self._fault:
            _log.warning("no token can be taken: %s; trying again", fault)
        self._fault = fault
