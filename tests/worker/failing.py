"""A worker whose handler fails, and the policies by which it is tried again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from taskqueue_api.retries import parse_policy
from taskqueue_worker.outcomes import failure
from tests.worker.bench import Bench

FIXED = parse_policy(
    {"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "1h", "jitter": 0.5}}
)
IMMEDIATE = parse_policy({"maxAttempts": 3, "backoff": {"type": "Immediate"}})
HOUR = timedelta(hours=1)
PAST = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = f"{'0.' * 26}tq.ns.q"
OVERHEAD = timedelta(seconds=30)
"""The worker reads the real clock: a test may take so long at most."""

BOOM = failure("Boom", "why")
DEATH = {"x-death": [{"count": 3, "queue": "tq.ns.q"}], "x-first-death-queue": "tq.ns.q"}


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    """Run a worker whose handler fails at once."""
    bench.runner.outcome = BOOM
    bench.runner.go.set()
    task = asyncio.create_task(bench.worker.run())
    await asyncio.sleep(0)
    yield bench
    task.cancel()
    await asyncio.wait([task])
