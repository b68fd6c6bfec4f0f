"""Gives memory back to the machine that the operator has had, and does not use any more."""

import asyncio
import ctypes
from collections.abc import Callable

TRIM_SECONDS = 30.0


def _find_trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim; None: the C library has none, such as musl's."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


async def run(find_trim: Callable[[], Callable[[int], int] | None] = _find_trim) -> None:
    """Give back whole pages that are free, for ever: glibc does so by itself at its end alone.

    It takes a few milliseconds, and 5 MB less after the creation of 500 TaskQueues.
    """
    trim = find_trim()
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        if trim is not None:
            trim(0)
