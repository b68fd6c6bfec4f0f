"""A fake of the API server, for wiring only: objects in memory."""

# ruff: noqa: ARG002 - a fake takes what its edge takes

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.errors import ClusterError, ConflictError, NotFoundError

ObjectKey = tuple[str, str, str]


def apply_json_patch(body: Mapping[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the object after a JSON Patch of `test`, `add` and `remove` of members.

    Raises ValueError with the path of the test that failed, or of what is not there.
    """
    result: dict[str, Any] = copy.deepcopy(dict(body))
    for operation in patch:
        *parents, last = operation["path"].strip("/").split("/")
        node = result
        for part in parents:
            node = node[part]
        if operation["op"] == "add":
            node[last] = copy.deepcopy(operation["value"])
        elif operation["op"] == "remove":
            if last not in node:
                raise ValueError(f"there is no {operation['path']}")
            del node[last]
        elif node.get(last) != operation["value"]:
            raise ValueError(f"test of {operation['path']} failed")
    return result


class Request(NamedTuple):
    """One request to the API server.

    verb: get, metadata, apply, patch, delete, event, pods, table, list or watch.
    """

    verb: str
    kind: str
    name: str


class FakeCluster(ClusterClient):
    """Objects in a dictionary.

    faults: by verb, errors that its next requests raise.
    gates: by verb, what its requests wait for before they are answered.
    delays: by verb, how long its requests take, seconds.
    feed: what the watch of Tasks gives: events, errors to raise, None for its end.
    watched: by each watch of Tasks, its namespace, field selector and version.
    """

    def __init__(self, *objects: Mapping[str, Any]) -> None:
        self.may_write = lambda: True
        self.objects: dict[ObjectKey, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self.events: list[tuple[str, str, str]] = []
        self.faults: dict[str, list[ClusterError]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.delays: dict[str, float] = {}
        self.pages: list[dict[str, Any]] = []
        self.pods: list[dict[str, Any]] = []
        self.lists: list[dict[str, Any]] = []
        self.feed: asyncio.Queue[dict[str, Any] | ClusterError | None] = asyncio.Queue()
        self.watched: list[tuple[str | None, str, str]] = []
        self._version = 0
        for item in objects:
            self.add(item)

    def add(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Put an object there, as if somebody else had."""
        stored = copy.deepcopy(dict(body))
        self.objects[self._key(stored)] = stored
        return stored

    def find(self, kind: str, name: str, namespace: str = "shop") -> dict[str, Any]:
        """Return an object as it is now. Raises KeyError."""
        return self.objects[kind, namespace, name]

    def count(self, verb: str, kind: str | None = None) -> int:
        """Return how many requests there were."""
        return sum(1 for item in self.requests if item.verb == verb and kind in (None, item.kind))

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any]:
        await self._enter("get", kind, name)
        return copy.deepcopy(self._stored(kind, namespace, name))

    async def get_metadata(
        self, api_version: str, kind: str, namespace: str, name: str
    ) -> dict[str, Any]:
        await self._enter("metadata", kind, name)
        metadata: dict[str, Any] = self._stored(kind, namespace, name)["metadata"]
        return copy.deepcopy(metadata)

    async def list_pods(self, namespace: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        await self._enter("pods", "Pod", "")
        return self.pods

    async def task_tables(self, api_version: str, namespace: str) -> AsyncIterator[dict[str, Any]]:
        await self._enter("table", "Task", "")
        for page in self.pages:
            yield page

    async def list_pages(
        self, api_version: str, kind: str, namespace: str | None, fields: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        await self._enter("list", kind, namespace or "")
        for page in self.lists:
            yield page

    async def watch_tasks(
        self, api_version: str, namespace: str | None, fields: str, version: str
    ) -> AsyncIterator[dict[str, Any]]:
        self.watched.append((namespace, fields, version))
        await self._enter("watch", "Task", "")
        while (item := await self.feed.get()) is not None:
            if isinstance(item, ClusterError):
                raise item
            yield item

    async def apply(self, manifest: Mapping[str, Any], sub: str | None = None) -> dict[str, Any]:
        kind, namespace, name = key = self._key(manifest)
        await self._enter("apply", kind, name)
        self._version += 1
        if sub:
            self._stored(kind, namespace, name)[sub] = copy.deepcopy(manifest[sub])
        else:
            metadata: dict[str, Any] = {
                "uid": f"uid-{kind}-{name}",
                "resourceVersion": str(self._version),
            }
            if "spec" in manifest:
                metadata |= {"generation": self._version}
            stored = self.add(manifest)
            stored["metadata"] = {**manifest["metadata"], **metadata}
        return copy.deepcopy(self.objects[key])

    async def patch_task_status(
        self, api_version: str, namespace: str, name: str, patch: list[dict[str, Any]]
    ) -> dict[str, Any]:
        await self._enter("patch", "Task", name)
        body = self._stored("Task", namespace, name)
        try:
            patched = apply_json_patch(body, patch)
        except ValueError as error:
            raise ConflictError(422, str(error)) from error
        return copy.deepcopy(self.add(patched))

    async def annotate(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        name: str,
        annotations: Mapping[str, str],
    ) -> None:
        await self._enter("annotate", kind, name)
        metadata = self._stored(kind, namespace, name)["metadata"]
        metadata.setdefault("annotations", {}).update(annotations)

    async def delete(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        name: str,
        *,
        preconditions: Mapping[str, str] | None = None,
    ) -> None:
        await self._enter("delete", kind, name)
        metadata = self._stored(kind, namespace, name)["metadata"]
        for key, value in (preconditions or {}).items():
            if metadata.get(key) != value:
                raise ConflictError(409, f"{key} is {metadata.get(key)}, not {value}")
        del self.objects[kind, namespace, name]

    async def post_event(
        self, regarding: Mapping[str, Any], *, warning: bool, reason: str, message: str
    ) -> None:
        await self._enter("event", regarding["kind"], regarding["metadata"]["name"])
        self.events.append(("Warning" if warning else "Normal", reason, message))

    async def _enter(self, verb: str, kind: str, name: str) -> None:
        self.requests.append(Request(verb, kind, name))
        gate = self.gates.get(verb)
        if gate:
            await gate.wait()
        else:
            await asyncio.sleep(self.delays.get(verb, 0))
        faults = self.faults.get(verb)
        if faults:
            raise faults.pop(0)

    def _stored(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        stored = self.objects.get((kind, namespace, name))
        if stored is None:
            raise NotFoundError(404, f"{kind} '{namespace}/{name}' not found")
        return stored

    @staticmethod
    def _key(body: Mapping[str, Any]) -> ObjectKey:
        return body["kind"], body["metadata"]["namespace"], body["metadata"]["name"]
