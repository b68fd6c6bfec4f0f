"""Keeps the ladder of delays whole in each vhost."""

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

from taskqueue_operator.broker.link import Link
from taskqueue_operator.domain.ladder import build_ladder

CHECK_SECONDS = 25.0
"""Below the pause between two resyncs, so that each finds what was deleted; not at every reconcile,
since it takes some 130 declarations, and all TaskQueues of a vhost share it."""


class Ladders:
    """The ladder of every vhost that is connected to."""

    def __init__(self) -> None:
        self._levels = build_ladder()
        self._checked: WeakKeyDictionary[Link, float] = WeakKeyDictionary()
        self._locks: WeakKeyDictionary[Link, asyncio.Lock] = WeakKeyDictionary()

    def forget(self, link: Link) -> None:
        """Look anew next time: what is behind the connection may be another disk."""
        self._checked.pop(link, None)

    async def ensure(self, link: Link, lost: Callable[[], None]) -> None:
        """Declare the ladder, unless that was done a moment ago. Raises BrokerError.

        lost: called before queues are declared that were not there, and what they had kept is
            gone.
        """
        async with self._locks.setdefault(link, asyncio.Lock()):
            now = asyncio.get_running_loop().time()
            if now - self._checked.get(link, float("-inf")) < CHECK_SECONDS:
                return
            async with await link.open_channel() as channel:
                whole = await channel.is_ladder_whole(self._levels)
            if not whole:
                lost()
            async with await link.open_channel() as channel:
                await channel.declare_ladder(self._levels)
            self._checked[link] = now
