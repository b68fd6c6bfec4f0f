"""Tells workers at once that a Task they may run is to be stopped.

Nothing depends on it: a worker looks at the Tasks that it runs by itself, only later.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from taskqueue_api.messages import TaskUid, encode_hint
from taskqueue_api.names import CONTROL_EXCHANGE, work_queue
from taskqueue_operator.broker.link import Link
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import BrokerError

HELD_MOST = 10_000
"""For one connection."""

logger = logging.getLogger(__name__)


class _Hint(NamedTuple):
    queue: QueueKey
    uid: TaskUid


class Hints:
    """Sends hints over the connections there are, each in its own time.

    link_of: None: not connected.
    """

    def __init__(self, link_of: Callable[[QueueKey], Link | None]) -> None:
        self._link_of = link_of
        self._waiting: dict[Link, deque[_Hint]] = {}
        self._links: asyncio.Queue[Link] = asyncio.Queue()

    def send(self, queue: QueueKey, uid: TaskUid) -> None:
        """Tell the workers of a queue, soon; not at all when there is too much to tell."""
        link = self._link_of(queue)
        if link is None:
            return
        if link not in self._waiting:
            self._waiting[link] = deque()
            self._links.put_nowait(link)
        if len(self._waiting[link]) < HELD_MOST:
            self._waiting[link].append(_Hint(queue, uid))
        else:
            logger.warning("too much to tell the workers of %s", queue, extra={"uid": uid})

    async def run(self) -> None:
        """Send what there is, for ever."""
        async with asyncio.TaskGroup() as senders:
            while True:
                senders.create_task(self._send_all(await self._links.get()))

    async def _send_all(self, link: Link) -> None:
        """Send what waits for a connection; drop all of it when one cannot be sent.

        A broker that opens no channel takes 10 s to say so, and the workers soon look themselves.
        """
        waiting = self._waiting[link]
        try:
            while waiting:
                hint = waiting.popleft()
                await link.tell(CONTROL_EXCHANGE, work_queue(*hint.queue), encode_hint(hint.uid))
        except BrokerError as error:
            text = "workers of %s were not told, nor of %d other Tasks: %s"
            logger.warning(text, hint.queue, len(waiting), error, extra={"uid": hint.uid})
        finally:
            del self._waiting[link]
