"""Reconciles are bounded, and those of one broker by themselves."""

import asyncio
from collections.abc import Mapping
from typing import Any

from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.services.slots import PARALLEL, Slots

DEFAULT: dict[str, Any] = {"spec": {}}


def own(name: str) -> dict[str, Any]:
    return {"spec": {"broker": {"secretRef": {"name": name}}}}


async def hold(slots: Slots, namespace: str, body: Mapping[str, Any] | None, number: int) -> int:
    """Let so many reconciles begin that do not end; return how many could."""
    begun = 0

    async def one() -> None:
        nonlocal begun
        async with slots.of(QueueKey(namespace, "emails"), body):
            begun += 1
            await asyncio.Event().wait()

    held.extend(asyncio.create_task(one()) for _ in range(number))
    await asyncio.sleep(1)
    return begun


held: list["asyncio.Task[None]"] = []


async def test_a_broker_that_hangs_holds_no_other_up() -> None:
    slots = Slots()
    try:
        assert await hold(slots, "shop", own("slow"), 3 * PARALLEL) == PARALLEL
        assert await hold(slots, "mail", own("slow"), 1) == 1  # another namespace's Secret
        assert await hold(slots, "shop", own("other"), 1) == 1
        assert await hold(slots, "shop", DEFAULT, PARALLEL + 1) == PARALLEL
        assert await hold(slots, "mail", DEFAULT, 1) == 0
    finally:
        for task in held:
            task.cancel()
