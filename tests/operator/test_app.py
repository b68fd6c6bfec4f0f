"""What is called dead."""

import asyncio

from taskqueue_operator.app import find_dead, find_unwatched


async def test_a_watch_that_has_ended_is_a_fault() -> None:
    # The names are Kopf's own, as on a real cluster.
    queues, tasks = (
        asyncio.create_task(
            asyncio.Event().wait(), name=f"watcher for {plural}.v1beta1.taskqueue.dev@None"
        )
        for plural in ("taskqueues", "tasks")
    )
    assert find_unwatched() == []
    tasks.cancel()
    await asyncio.wait([tasks])
    assert find_unwatched() == ["tasks are not watched"]
    queues.cancel()


async def test_a_loop_of_our_own_that_has_ended_is_a_fault() -> None:
    ended = asyncio.create_task(asyncio.sleep(0), name="status writer")
    await ended
    assert find_dead([ended]) == ["the status writer is dead"]
