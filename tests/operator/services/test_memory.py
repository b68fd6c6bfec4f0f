"""Memory is given back again and again, where the C library can."""

import asyncio

from taskqueue_operator import memory


async def test_it_is_given_back_again_and_again() -> None:
    calls: list[int] = []

    def trim(pad: int) -> int:
        calls.append(pad)
        return 1

    loop = asyncio.create_task(memory.run(lambda: trim))
    await asyncio.sleep(2.5 * memory.TRIM_SECONDS)
    assert calls == [0, 0]
    loop.cancel()


async def test_this_machines_library_is_called_and_one_without_it_is_none_the_worse() -> None:
    loops = [asyncio.create_task(memory.run()), asyncio.create_task(memory.run(lambda: None))]
    await asyncio.sleep(2 * memory.TRIM_SECONDS)
    assert not any(loop.done() for loop in loops)
    for loop in loops:
        loop.cancel()
