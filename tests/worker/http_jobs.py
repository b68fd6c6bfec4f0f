"""A job for an HTTP server, and what comes of it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from taskqueue_worker.http_runner import HttpRunner, open_session
from taskqueue_worker.outcomes import Failure, Outcome
from taskqueue_worker.runners import Job

JOB = Job(
    handler="greet",
    payload='{"имя":"é"}'.encode(),
    timeout=8,
    uid="uid-1",
    attempt=2,
    namespace="ns",
    name="t",
    queue="q",
    run=3,
)
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


async def run(url: str, job: Job = JOB) -> Outcome:
    async with open_session() as session:
        return await HttpRunner(url, session, now=lambda: NOW).run(job)


async def error_of(url: str, **changes: Any) -> Failure:
    outcome = await run(url, replace(JOB, **changes))
    assert isinstance(outcome, Failure), outcome
    return outcome
