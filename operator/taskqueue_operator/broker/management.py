"""RabbitMQ's management API: users and their permissions, operator policies, depths of queues."""

import asyncio
import json
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

import aiohttp
from yarl import URL

from taskqueue_api.tls import client_context
from taskqueue_operator.domain.broker_address import BrokerAddress
from taskqueue_operator.domain.broker_user import HASHING_ALGORITHM
from taskqueue_operator.errors import ManagementRefusedError, ManagementUnavailableError

TIMEOUT_SECONDS = 10.0
"""For a call in all, with the wait for a connection."""

CONNECTIONS_MOST = 20
"""Calls at once. Each holds a connection with its buffers, and maybe a list of everything."""

IDLE_SECONDS = 5.0
"""How long a connection is kept for the next call."""

LIST_SECONDS = 20.0
"""How long a list of all users, permissions or policies is good for: one call in place of one for
each TaskQueue. What differs is read and written by itself."""

PAGE = 500
"""Queues per call; RabbitMQ gives no more."""

_PAGES_MOST = 100

# Of each list: the member that has the name, and what else is compared.
_USER = ("name", "password_hash", "hashing_algorithm", "tags")
_PERMISSION = ("user", "vhost", "configure", "write", "read")
_TOPIC_PERMISSION = ("user", "vhost", "exchange", "write", "read")
_POLICY = ("name", "pattern", "definition", "priority", "apply-to")


class QueueTotals(NamedTuple):
    """How many messages a queue holds, as of some seconds ago: waiting, and with consumers."""

    ready: int
    unacknowledged: int


class Management:
    """The management API of one broker, as one administrator.

    Every method raises ManagementUnavailableError when there is no such API to be reached, and
    ManagementRefusedError, with RabbitMQ's reason, when it says no.
    """

    def __init__(
        self, base: str, address: BrokerAddress, leads: Callable[[], bool] = lambda: True
    ) -> None:
        """leads: whether this operator may write at this moment."""
        self._leads = leads
        self._base = base.rstrip("/")
        self._vhost = address.vhost
        # When each list was read, and a mark of each object: the objects are large, and many.
        self._lists: dict[str, tuple[float, set[bytes]]] = {}
        self._written: dict[str, float] = {}
        try:
            self._context = client_context(ca_data=address.ca)
        except ssl.SSLError as error:
            raise ManagementUnavailableError(
                f"the broker's Secret has a key 'ca.crt' that cannot be read: {error}"
            ) from error
        credentials = b64encode(f"{address.username}:{address.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}"}
        self._session: aiohttp.ClientSession | None = None
        self._calls = 0
        self._closed = False

    async def close(self) -> None:
        """Close the connections, once the calls that are under way have their answers."""
        self._closed = True
        await self._close_unused()

    async def ensure_user(
        self,
        username: str,
        password_hash: str,
        permissions: dict[str, str],
        topics: Iterable[dict[str, str]],
    ) -> None:
        """Create or repair a user and its permissions in the vhost; write only what differs.

        permissions: patterns `configure`, `write` and `read`.
        topics: for each topic exchange, `exchange` and patterns `write` and `read` of routing keys.
        """
        user = {
            "password_hash": password_hash,
            "hashing_algorithm": HASHING_ALGORITHM,
            "tags": [],
        }
        if not await self._lists_it("users", _USER, {"name": username, **user}):
            await self._ensure(_path("users", username), user)
        mine = {"user": username, "vhost": self._vhost}
        listed = _path("vhosts", self._vhost, "permissions")
        if not await self._lists_it(listed, _PERMISSION, mine | permissions):
            await self._ensure(_path("permissions", self._vhost, username), permissions)
        listed = _path("vhosts", self._vhost, "topic-permissions")
        for topic in topics:
            if not await self._lists_it(listed, _TOPIC_PERMISSION, mine | topic):
                await self._ensure_topic(username, topic)

    async def _ensure_topic(self, username: str, topic: dict[str, str]) -> None:
        path = _path("topic-permissions", self._vhost, username)
        current = await self._call("GET", path)
        known = current if isinstance(current, list) else []
        if not any(_holds(item, topic) for item in known):
            await self._call("PUT", path, topic)

    async def delete_user(self, username: str) -> None:
        """Delete a user; one that is not there is fine."""
        await self._call("DELETE", _path("users", username))

    async def ensure_operator_policy(self, name: str, policy: dict[str, Any]) -> bool:
        """Create or repair an operator policy of the vhost; return whether it was written."""
        listed = _path("operator-policies", self._vhost)
        if await self._lists_it(listed, _POLICY, {"name": name, **policy}):
            return False
        return await self._ensure(_path("operator-policies", self._vhost, name), policy)

    async def delete_operator_policy(self, name: str) -> None:
        """Delete an operator policy; one that is not there is fine, also where none may change."""
        listed = _path("operator-policies", self._vhost)
        if await self._lists_it(listed, _POLICY, {"name": name}) is False:
            return
        path = _path("operator-policies", self._vhost, name)
        if await self._call("GET", path) is not None:
            await self._call("DELETE", path)

    async def operator_policy_of(self, queue: str) -> str | None:
        """Return the operator policy that applies to a queue, as of some seconds ago.

        None: there is none, or RabbitMQ does not say.
        """
        found = await self._call("GET", _path("queues", self._vhost, queue))
        name = found.get("operator_policy") if isinstance(found, dict) else None
        return name if isinstance(name, str) and name else None

    async def queue_totals(self, pattern: str) -> dict[str, QueueTotals]:
        """Return the totals of the vhost's queues whose names match a regular expression.

        One that RabbitMQ knows no totals of, as while it has no leader, is left out: that is no
        zero.
        """
        query = {
            "disable_stats": "true",
            "enable_queue_totals": "true",
            "columns": "name,messages_ready,messages_unacknowledged",
            "name": pattern,
            "use_regex": "true",
            "page_size": PAGE,
        }
        path = _path("queues", self._vhost)
        totals: dict[str, QueueTotals] = {}
        for page in range(1, _PAGES_MOST + 1):
            found = await self._call("GET", f"{path}?{urlencode({**query, 'page': page})}")
            found = found if isinstance(found, dict) else {}
            totals |= _read_totals(found.get("items"))
            if page >= (found.get("page_count") or 0):
                break
        return totals

    async def _lists_it(
        self, path: str, members: tuple[str, ...], wanted: dict[str, Any]
    ) -> bool | None:
        """Return whether a list, as of some seconds ago, has an object with these members.

        members: what the list is asked for, the name first.
        wanted: all of them, or the name alone.
        None: something was written of that name since then. False also where RabbitMQ gives no
            list.
        """
        now = asyncio.get_running_loop().time()
        read, marks = self._lists.get(path, (float("-inf"), set()))
        if now - read >= LIST_SECONDS:
            found = await self._call("GET", path)
            found = found if isinstance(found, list) else []
            items = [item for item in found if isinstance(item, dict)]
            marks = {_mark(item, some) for item in items for some in (members, members[:1])}
            self._lists[path] = read, marks = now, marks
        if self._written.get(wanted[members[0]], float("-inf")) >= read:
            return None
        return _mark(wanted, tuple(wanted)) in marks

    def _forget_old(self, now: float) -> None:
        """Drop the lists that are used no more, and what was written before them."""
        old = [path for path, (read, _) in self._lists.items() if now - read >= LIST_SECONDS]
        for path in old:
            del self._lists[path]
        if old:
            known = self._written.items()
            self._written = {name: at for name, at in known if now - at < LIST_SECONDS}

    async def _ensure(self, path: str, wanted: dict[str, Any]) -> bool:
        """Write what differs; return whether anything did."""
        current = await self._call("GET", path)
        if isinstance(current, dict) and _holds(current, wanted):
            return False
        await self._call("PUT", path, wanted)
        return True

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer's JSON; None where there is none, or nothing at that path."""
        if method != "GET" and not self._leads():
            raise ManagementUnavailableError("the lease of this operator is over")
        now = asyncio.get_running_loop().time()
        self._forget_old(now)
        if method != "GET":
            # By the end of the path: a user, or a policy.
            self._written[unquote(path.rpartition("/")[2])] = now
        try:
            status, phrase, content = await self._send(method, path, body)
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            raise ManagementUnavailableError(
                f"the management API at {self._base} cannot be reached: "
                f"{type(error).__name__}: {_words(error)}"
            ) from error
        if status == 404 and method != "PUT":
            return None
        if status >= 400:
            kind = ManagementUnavailableError if status >= 500 else ManagementRefusedError
            raise kind(
                f"the management API at {self._base} refused {method} {path}: "
                f"{_reason(content) or phrase} (HTTP {status})"
            )
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise ManagementUnavailableError(
                f"what answers at {self._base} is not RabbitMQ's management API"
            ) from error

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[int, str, bytes]:
        """Return an answer's status, its words, and its body."""
        # The path goes out as it is: the vhost '/' is %2F.
        url = URL(f"{str(URL(self._base)).rstrip('/')}/api/{path}", encoded=True)
        self._calls += 1
        try:
            if self._session is None:
                self._session = self._open()
            async with self._session.request(
                method, url, json=body, allow_redirects=False
            ) as response:
                return response.status, response.reason or "", await response.read()
        finally:
            self._calls -= 1
            await self._close_unused()

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._context, limit=CONNECTIONS_MOST, keepalive_timeout=IDLE_SECONDS
            ),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            trust_env=False,
        )

    async def _close_unused(self) -> None:
        # Not under a call: aiohttp would cancel whoever waits for a connection.
        if self._closed and not self._calls and self._session:
            session, self._session = self._session, None
            await session.close()


def _read_totals(items: Any) -> dict[str, QueueTotals]:
    """Return the totals of a page's queues, but for those that have none."""
    rows = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    read = {
        row.get("name"): (row.get("messages_ready"), row.get("messages_unacknowledged"))
        for row in rows
    }
    return {
        name: QueueTotals(ready, unacknowledged)
        for name, (ready, unacknowledged) in read.items()
        if isinstance(name, str) and isinstance(ready, int) and isinstance(unacknowledged, int)
    }


def _path(*parts: str) -> str:
    return "/".join(quote(part, safe="") for part in parts)


def _holds(current: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(current.get(key) == value for key, value in wanted.items())


def _mark(item: dict[str, Any], members: tuple[str, ...]) -> bytes:
    """Return what is the same for all objects with the same values of these members."""
    some = {name: item[name] for name in members if name in item}
    return blake2b(json.dumps(some, sort_keys=True).encode(), digest_size=16).digest()


def _reason(content: bytes) -> Any:
    """Return why RabbitMQ refuses; None: what answers does not say it as RabbitMQ does."""
    try:
        found = json.loads(content)
        return found.get("reason") or found.get("error")
    except (ValueError, AttributeError):
        return None


def _words(error: Exception) -> str:
    """Return what went wrong; the same each time, as it may be written to an object's status.

    aiohttp's own words have an SSL context's place in memory, and each address that was tried.
    """
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error)
    cause = error.os_error
    if isinstance(cause, ssl.SSLError | socket.gaierror):
        return str(cause)
    return os.strerror(cause.errno) if cause.errno else "All connection attempts failed"
