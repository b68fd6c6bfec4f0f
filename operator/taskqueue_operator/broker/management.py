"""RabbitMQ's management API: users and their permissions, operator policies, depths of queues."""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

import httpx

from taskqueue_api.tls import client_context
from taskqueue_operator.domain.broker_address import BrokerAddress
from taskqueue_operator.domain.broker_user import HASHING_ALGORITHM
from taskqueue_operator.errors import ManagementRefusedError, ManagementUnavailableError

TIMEOUT_SECONDS = 10.0

LIST_SECONDS = 20.0
"""How long a list of all users, permissions or policies is good for: one call in place of one for
each TaskQueue. What differs is read and written by itself."""

PAGE = 500
"""Queues per call; RabbitMQ gives no more."""

_PAGES_MOST = 100


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
        self._lists: dict[str, tuple[float, dict[str, list[dict[str, Any]]]]] = {}
        self._written: dict[str, float] = {}
        try:
            context = client_context(ca_data=address.ca)
        except ssl.SSLError as error:
            raise ManagementUnavailableError(
                f"the broker's Secret has a key 'ca.crt' that cannot be read: {error}"
            ) from error
        self._client = httpx.AsyncClient(
            auth=(address.username, address.password),
            timeout=TIMEOUT_SECONDS,
            verify=context,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

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
        if not await self._lists_it("users", "name", {"name": username, **user}):
            await self._ensure(_path("users", username), user)
        mine = {"user": username, "vhost": self._vhost}
        listed = _path("vhosts", self._vhost, "permissions")
        if not await self._lists_it(listed, "user", mine | permissions):
            await self._ensure(_path("permissions", self._vhost, username), permissions)
        listed = _path("vhosts", self._vhost, "topic-permissions")
        for topic in topics:
            if not await self._lists_it(listed, "user", mine | topic):
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
        if await self._lists_it(listed, "name", {"name": name, **policy}):
            return False
        return await self._ensure(_path("operator-policies", self._vhost, name), policy)

    async def delete_operator_policy(self, name: str) -> None:
        """Delete an operator policy; one that is not there is fine, also where none may change."""
        listed = _path("operator-policies", self._vhost)
        if await self._lists_it(listed, "name", {"name": name}) is False:
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

    async def _lists_it(self, path: str, by: str, wanted: dict[str, Any]) -> bool | None:
        """Return whether a list, as of some seconds ago, has an object with these members.

        by: the member that the list is looked up by. None: something was written of that name
            since then. False also where RabbitMQ gives no list.
        """
        now = asyncio.get_running_loop().time()
        read, index = self._lists.get(path, (float("-inf"), {}))
        if now - read >= LIST_SECONDS:
            found = await self._call("GET", path)
            index = {}
            for item in found if isinstance(found, list) else []:
                if isinstance(item, dict):
                    index.setdefault(str(item.get(by)), []).append(item)
            self._lists[path] = read, index = now, index
        if self._written.get(wanted[by], float("-inf")) >= read:
            return None
        return any(_holds(item, wanted) for item in index.get(wanted[by], []))

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
        if method != "GET":
            # By the end of the path: a user, or a policy.
            self._written[unquote(path.rpartition("/")[2])] = asyncio.get_running_loop().time()
        try:
            response = await self._client.request(method, f"{self._base}/api/{path}", json=body)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            raise ManagementUnavailableError(
                f"the management API at {self._base} cannot be reached: "
                f"{type(error).__name__}: {error}"
            ) from error
        if response.status_code == 404 and method != "PUT":
            return None
        if response.status_code >= 500:
            raise ManagementUnavailableError(self._say(method, path, response))
        if response.status_code >= 400:
            raise ManagementRefusedError(self._say(method, path, response))
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise ManagementUnavailableError(
                f"what answers at {self._base} is not RabbitMQ's management API"
            ) from error

    def _say(self, method: str, path: str, response: httpx.Response) -> str:
        try:
            reason = response.json().get("reason") or response.json().get("error")
        except (ValueError, AttributeError):
            reason = response.reason_phrase
        return (
            f"the management API at {self._base} refused {method} {path}: {reason} "
            f"(HTTP {response.status_code})"
        )


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
