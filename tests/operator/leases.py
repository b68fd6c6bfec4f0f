"""An API server that keeps one Lease, with a way to it that may be slow or lose things."""

# ruff: noqa: ARG002 - a fake takes what its edge takes

import asyncio
import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.errors import ClusterUnavailableError, ConflictError, NotFoundError


class Trip(NamedTuple):
    """One request: seconds until the server has it and, after that, until the answer is there.

    lost: the answer does not come.
    """

    there: float = 0.0
    back: float = 0.0
    lost: bool = False


class LeaseServer:
    """The Lease as it is stored. body: None: there is none. on_write: called after each write."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None
        self.writes = 0
        self.on_write: Callable[[], None] = lambda: None

    @property
    def holder(self) -> str | None:
        """Who holds it, as stored."""
        return self.body["spec"].get("holderIdentity") if self.body else None

    def put(self, body: Mapping[str, Any], *, create: bool) -> dict[str, Any]:
        """Store the Lease, with the API server's check of versions."""
        if create and self.body is not None:
            raise ConflictError(409, "already exists")
        if not create:
            if self.body is None:
                raise NotFoundError(404, "not found")
            if body["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
                raise ConflictError(409, "the object has been modified")
        self.writes += 1
        self.body = copy.deepcopy(dict(body))
        self.body["metadata"]["resourceVersion"] = str(self.writes)
        self.on_write()
        return copy.deepcopy(self.body)

    def touch(self) -> None:
        """Change something about the Lease that is not its holder."""
        assert self.body
        self.put(self.body, create=False)


class LeaseClient(ClusterClient):
    """One operator's way to the server.

    trips: how its next requests fare; when there are no more, all goes at once.
    down: nothing arrives.
    """

    def __init__(self, server: LeaseServer) -> None:
        self.server = server
        self.trips: list[Trip] = []
        self.down = False

    async def close(self) -> None:
        """There is no connection to close."""

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return await self._travel(self._read)

    async def create_lease(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        return await self._travel(lambda: self.server.put(manifest, create=True))

    async def replace_lease(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        return await self._travel(lambda: self.server.put(manifest, create=False))

    def _read(self) -> dict[str, Any]:
        if self.server.body is None:
            raise NotFoundError(404, "not found")
        return copy.deepcopy(self.server.body)

    async def _travel(self, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        trip = self.trips.pop(0) if self.trips else Trip()
        if self.down:
            raise ClusterUnavailableError(0, "the API server cannot be reached")
        # A request that was sent arrives, also when nobody waits for its answer any more.
        arrival = asyncio.get_running_loop().create_task(self._arrive(act, trip))
        result = await asyncio.shield(arrival)
        if trip.lost:
            raise ClusterUnavailableError(0, "the connection was lost")
        return result

    @staticmethod
    async def _arrive(act: Callable[[], dict[str, Any]], trip: Trip) -> dict[str, Any]:
        await asyncio.sleep(trip.there)
        try:
            return act()
        finally:
            await asyncio.sleep(trip.back)
