"""The edge to the API server: read Tasks, pods and payloads, patch a Task's status."""

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from taskqueue_api.names import API_VERSION, TASKS
from taskqueue_api.payload_source import PayloadSource
from taskqueue_api.tls import client_context
from taskqueue_worker.clock import ServerClock
from taskqueue_worker.deliveries import is_object_name
from taskqueue_worker.statuses import Patch, TaskView, view_task

_log = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_TOKEN_SECONDS = 60.0
_OFFER_TIMEOUT = aiohttp.ClientTimeout(total=5)
_UNAUTHORIZED_SECONDS = 30.0
"""An API server that cannot read its store says 401 too; beyond this it is taken at its word."""
_REFUSALS = frozenset({400, 413, 422})
"""Not 409: none of our patches asks for a version but by a test, which fails with 422. The API
server says 409 when others wrote each time that it tried: nothing is wrong with the patch."""
_FORBIDDEN = 403
_PLURALS = {"ConfigMap": "configmaps", "Secret": "secrets"}
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""The answer to a patch without the payload in it; nobody reads it."""
_PATCH_HEADERS = {"Content-Type": "application/json-patch+json", "Accept": _METADATA_ONLY}

BACKOFF_FIRST = 0.25
BACKOFF_MAX = 15.0


class UnauthorizedError(Exception):
    """The API server does not take this worker's token, nor a newly read one."""


@dataclass(frozen=True)
class Refused:
    """The API server understood a write and refused it; message: its own words."""

    message: str


@dataclass(frozen=True)
class Written:
    """The write is stored."""


@dataclass(frozen=True)
class Gone:
    """There is no such object."""


@dataclass(frozen=True)
class Forbidden:
    """This worker may not read it; message: the API server's own words."""

    message: str


WriteAnswer = Written | Refused | Gone


@dataclass(frozen=True)
class Cluster:
    """Where the API server is and how this pod talks to it. folder: token and ca.crt."""

    url: str
    folder: Path


class Token:
    """The service account's token, which the kubelet renews within the hour."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._value = ""
        self._read_at = -_TOKEN_SECONDS

    def value(self) -> str:
        """Return the token, at most a minute old."""
        now = self._monotonic()
        if not self._value or now - self._read_at >= _TOKEN_SECONDS:
            self._value = self._path.read_text().strip()
            self._read_at = now
        return self._value

    def forget(self) -> None:
        """Have it read again."""
        self._value = ""


def backoff_seconds(failures: int, first: float, most: float, jitter: float) -> float:
    """Return the wait after so many failures, with full jitter. jitter: 0 to 1."""
    return min(most, first * 2.0 ** min(failures - 1, 16)) * (0.1 + 0.9 * jitter)


class ApiServer:
    """One pooled session. Each call waits out an API server that is away or busy."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        clock: ServerClock,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._sleep = sleep
        self._monotonic = monotonic
        self._token = Token(cluster.folder / "token", monotonic)
        self._tasks = f"{cluster.url}/apis/{API_VERSION}/namespaces/{namespace}/{TASKS}"
        self._core = f"{cluster.url}/api/v1/namespaces/{namespace}"
        self._jitter = jitter
        context = client_context(ca_file=str(cluster.folder / "ca.crt"))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=100),
            timeout=_TIMEOUT,
            headers={"User-Agent": "taskqueue-worker"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def get_task(self, name: str) -> TaskView | None:
        """Return a Task as stored now, not as cached; None: there is none."""
        body = await self._get(f"{self._tasks}/{name}")
        return None if body is None else view_task(body)

    async def get_pod(self, name: str) -> Mapping[str, Any] | None:
        """Return a pod of this namespace; None: there is none."""
        if not is_object_name(name):
            return None  # a status may say anything; this must not become another path
        return await self._get(f"{self._core}/pods/{name}")

    async def get_source(self, source: PayloadSource) -> Mapping[str, Any] | Forbidden | None:
        """Return a ConfigMap or Secret of this namespace as stored now; None: there is none.

        Raises UnauthorizedError.
        """
        url = f"{self._core}/{_PLURALS[source.kind]}/{source.name}"
        status, body = await self._call("GET", url, None, {}, frozenset({_FORBIDDEN}))
        return Forbidden(_words(body)) if status == _FORBIDDEN else _object(status, body)

    async def patch_status(self, name: str, patch: Patch) -> WriteAnswer:
        """Apply a JSON Patch to a Task's status. Raises UnauthorizedError."""
        url = f"{self._tasks}/{name}/status"
        data = json.dumps(patch).encode()
        status, body = await self._call("PATCH", url, data, _PATCH_HEADERS, _REFUSALS)
        return _answer_to_write(status, body)

    async def offer_status(self, name: str, patch: Patch) -> WriteAnswer | None:
        """Apply a JSON Patch to a Task's status if the API server is there to take it.

        One try, of at most 5 s; None: nobody knows what has become of it. For what is not worth a
        second one.
        """
        url = f"{self._tasks}/{name}/status"
        data = json.dumps(patch).encode()
        try:
            status, body, _ = await self._once("PATCH", url, data, _PATCH_HEADERS, _OFFER_TIMEOUT)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        decisive = 200 <= status < 300 or status == 404 or status in _REFUSALS
        return _answer_to_write(status, body) if decisive else None

    async def _get(self, url: str) -> Mapping[str, Any] | None:
        return _object(*await self._call("GET", url, None, {}, frozenset()))

    async def _call(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: dict[str, str],
        refusals: frozenset[int],
    ) -> tuple[int, bytes]:
        """Return the first decisive answer: success, 404 or one of these refusals."""
        failures = 0
        deadline: float | None = None
        while True:
            wait = 0.0
            try:
                status, body, wait = await self._once(method, url, data, headers)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                status, body = 0, f"{type(error).__name__}: {error}".encode()
            if 200 <= status < 300 or status == 404 or status in refusals:
                return status, body
            if status == 401:
                self._token.forget()
                deadline = deadline or self._monotonic() + _UNAUTHORIZED_SECONDS
                if self._monotonic() > deadline:
                    raise UnauthorizedError(_words(body))
            else:
                deadline = None
            failures += 1
            if failures == 1 or failures % 10 == 0:
                fields = {"method": method, "url": url, "status": status, "failures": failures}
                _log.warning("API server: %s; trying again", _words(body), extra=fields)
            pause = backoff_seconds(failures, BACKOFF_FIRST, BACKOFF_MAX, self._jitter())
            await self._sleep(max(wait, pause))

    async def _once(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: dict[str, str],
        timeout: aiohttp.ClientTimeout = _TIMEOUT,  # noqa: ASYNC109 - aiohttp's own
    ) -> tuple[int, bytes, float]:
        """Return status, body, and the seconds that the server asks to wait."""
        sent = {**headers, "Authorization": f"Bearer {self._token.value()}"}
        async with self._session.request(
            method, url, data=data, headers=sent, timeout=timeout
        ) as answer:
            self.clock.observe(answer.headers.get("Date"))
            body = await answer.read()
            wait = answer.headers.get("Retry-After", "")
            return answer.status, body, float(wait) if wait.isdigit() else 0.0


def _object(status: int, body: bytes) -> Mapping[str, Any] | None:
    if status == 404:
        return None
    found: Mapping[str, Any] = json.loads(body)
    return found


def _answer_to_write(status: int, body: bytes) -> WriteAnswer:
    if status == 404:
        return Gone()
    return Refused(_words(body)) if status in _REFUSALS else Written()


def _words(body: bytes) -> str:
    """Return the message of a Kubernetes Status, or the text itself."""
    try:
        return str(json.loads(body)["message"])[:1000]
    except (ValueError, KeyError, TypeError):
        return body[:1000].decode("utf-8", "replace")
