"""Tells workers at once that a Task they may run is to be stopped.

Nothing depends on it: a worker looks at the Tasks that it runs by itself, only later.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from taskqueue_api.messages import TaskUid, encode_hint
from taskqueue_api.names import CONTROL_EXCHANGE, work_queue
from taskqueue_operator.broker.link import Link
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import BrokerError

HELD_MOST = 10_000

logger = logging.getLogger(__name__)


class _Hint(NamedTuple):
    queue: QueueKey
    uid: TaskUid


class Hints:
    """Sends hints over the connections there are. link_of: None: not connected."""

    def __init__(self, link_of: Callable[[QueueKey], Link | None]) -> None:
        self._link_of = link_of
        self._waiting: asyncio.Queue[_Hint] = asyncio.Queue(HELD_MOST)

    def send(self, queue: QueueKey, uid: TaskUid) -> None:
        """Tell the workers of a queue, soon; not at all when there is too much to tell."""
        try:
            self._waiting.put_nowait(_Hint(queue, uid))
        except asyncio.QueueFull:
            logger.warning("too much to tell the workers of %s", queue, extra={"uid": uid})

    async def run(self) -> None:
        """Send what there is, for ever."""
        while True:
            hint = await self._waiting.get()
            try:
                await self._publish(hint)
            except BrokerError as error:
                text = "workers of %s were not told: %s"
                logger.warning(text, hint.queue, error, extra={"uid": hint.uid})

    async def _publish(self, hint: _Hint) -> None:
        link = self._link_of(hint.queue)
        if link is not None:
            await link.tell(CONTROL_EXCHANGE, work_queue(*hint.queue), encode_hint(hint.uid))
