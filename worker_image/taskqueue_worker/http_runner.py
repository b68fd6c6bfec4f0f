"""Running a job by a request to an HTTP server, mostly a sidecar."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from urllib.parse import quote

import aiohttp
from yarl import URL

from taskqueue_api.tls import client_context
from taskqueue_worker.http_answers import (
    BODY_MAX_BYTES,
    ERROR_KEPT_BYTES,
    Answer,
    is_success,
    judge_answer,
)
from taskqueue_worker.http_faults import explain_fault
from taskqueue_worker.outcomes import Outcome
from taskqueue_worker.runners import Job, OneByOne, describe_job, timed_out

IDEMPOTENCY_HEADER = "Idempotency-Key"
_PREFIX = "Taskqueue-"
_VISIBLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)
"""The job has one of its own."""


def build_headers(job: Job) -> dict[str, str]:
    """Return the headers of a job's request. What is empty is left out.

    Anything but visible ASCII is percent-encoded: a producer outside the cluster's API may name a
    handler as it likes, and must not write headers by that.
    """
    told = {f"{_PREFIX}{name.title()}": value for name, value in describe_job(job).items()}
    # Another attempt is another request: a server that keeps answers by this key would otherwise
    # answer it with the failure of the one before.
    told[IDEMPOTENCY_HEADER] = f"{job.uid}/{job.run}/{job.attempt}" if job.uid else ""
    return {
        "Content-Type": "application/json",
        "Accept": "application/json",
        # What is not compressed cannot be larger than it looks.
        "Accept-Encoding": "identity",
        "User-Agent": "taskqueue-worker",
        **{name: quote(value, _VISIBLE, errors="replace") for name, value in told.items() if value},
    }


class HttpRunner(OneByOne):
    """A POST per job: the payload in the request, the result in the answer.

    It runs in the worker's own loop: while it waits, a slot costs nothing but its connection.
    """

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """url: as `taskqueue_api.urls.HTTP_URL`. session: of `open_session`."""
        self._url = URL(url, encoded=True)
        self._session = session
        self._now = now

    async def prepare(self) -> None:
        """Nothing: a connection is made when there is a job for it."""

    def close(self) -> None:
        """Nothing: nothing is idle."""

    async def run(self, job: Job) -> Outcome:
        """Send a job's request and return what its answer means."""
        try:
            async with asyncio.timeout(job.timeout):
                answer = await self._ask(job)
        except TimeoutError:
            return timed_out(job)
        except (aiohttp.ClientError, OSError) as error:
            return explain_fault(error, self._url.host)
        return judge_answer(answer, self._now())

    async def _ask(self, job: Job) -> Answer:
        async with self._session.post(
            self._url,
            data=io.BytesIO(job.payload),
            headers=build_headers(job),
            allow_redirects=False,
        ) as response:
            status = response.status
            limit = BODY_MAX_BYTES if is_success(status) else ERROR_KEPT_BYTES
            body = bytearray()
            # The status of a failure counts, whatever becomes of the words after it.
            broken = () if is_success(status) else (aiohttp.ClientError, OSError)
            with contextlib.suppress(*broken):
                await _read(response.content, limit, body)
            return Answer(
                status=status,
                retry_after=response.headers.get("Retry-After", ""),
                body=bytes(body[:limit]),
                whole=len(body) <= limit,
            )


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a session that brings nothing from one request into the next, nor from outside."""
    connector = aiohttp.TCPConnector(
        ssl=client_context(),
        limit=0,  # the slots are the limit
        # A connection that was kept may be closed by the server just when the next request goes
        # out: a failed attempt for nothing. On loopback a new one costs a fraction of a ms.
        force_close=True,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=_NO_TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,  # no proxies, no .netrc
    ) as session:
        yield session


async def _read(content: aiohttp.StreamReader, limit: int, body: bytearray) -> None:
    """Read a body to its end, or until it is longer than the limit."""
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > limit:
            return
