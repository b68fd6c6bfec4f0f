"""The Kubernetes objects that a TaskQueue owns: applied, and repaired when they drift."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from taskqueue_api import names
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.workers import Owner
from taskqueue_operator.errors import ConfigurationError, NotFoundError


class ChildKey(NamedTuple):
    """One owned object."""

    kind: str
    namespace: str
    name: str


class Applied(NamedTuple):
    """An object as we applied it last.

    wanted: hash of what we asked for.
    marker: what changes when somebody else changes it.
    """

    api_version: str
    wanted: str
    marker: str


class Children:
    """Applies owned objects, and only when something differs."""

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster
        self._applied: dict[ChildKey, Applied] = {}

    async def apply(self, owner: Owner, manifests: Sequence[dict[str, Any]]) -> None:
        """Make the objects what they should be.

        Raises ConfigurationError (`NameTaken`) when one of their names belongs to somebody
        else's object, ClusterError when the API server refuses.
        """
        for manifest in manifests:
            await self._apply_one(owner, manifest)

    def read(self, owner: Owner, kind: str, name: str, body: Mapping[str, Any] | None) -> None:
        """Take note of an object that is not watched, so that its drift is repaired too.

        body: as it was read just now; None: it is not there.
        """
        if body is None:
            self._applied.pop(ChildKey(kind, owner.namespace, name), None)
        else:
            self.observe({**body, "kind": kind}, deleted=False)

    async def verify(self, owner: Owner) -> None:
        """Look at all objects of a TaskQueue. Raises ClusterError."""
        for key in self._keys(owner):
            await self._look(key)

    def version(self, owner: Owner, kind: str, name: str) -> str:
        """Return what changes whenever somebody changes an applied object."""
        return self._applied[ChildKey(kind, owner.namespace, name)].marker.rpartition("/")[2]

    async def _look(self, key: ChildKey) -> None:
        applied = self._applied.get(key)
        if applied is None:
            return  # forgotten while another was looked at
        try:
            current = await self._cluster.get(
                applied.api_version, key.kind, key.namespace, key.name
            )
        except NotFoundError:
            self._applied.pop(key, None)
            return
        self.observe(current, deleted=False)

    def observe(self, body: Mapping[str, Any], *, deleted: bool) -> bool:
        """Take note of an object as it is now; return whether it must be applied again."""
        key = ChildKey(body["kind"], body["metadata"]["namespace"], body["metadata"]["name"])
        applied = self._applied.get(key)
        if applied is None:
            return deleted
        if deleted or applied.marker != _marker(body):
            del self._applied[key]
            return True
        return False

    def forget(self, owner: Owner) -> None:
        """Forget the objects of a TaskQueue."""
        for key in self._keys(owner):
            del self._applied[key]

    def _keys(self, owner: Owner) -> list[ChildKey]:
        ours = (names.child(owner.name), names.broker_secret(owner.name))
        return [
            key for key in self._applied if key.namespace == owner.namespace and key.name in ours
        ]

    async def _apply_one(self, owner: Owner, manifest: dict[str, Any]) -> None:
        metadata = manifest["metadata"]
        key = ChildKey(manifest["kind"], metadata["namespace"], metadata["name"])
        wanted = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        known = self._applied.get(key)
        if known and known.wanted == wanted:
            return
        if known is None:
            await self._check_owner(owner, manifest)
        result = await self._cluster.apply(manifest)
        self._applied[key] = Applied(manifest["apiVersion"], wanted, _marker(result))

    async def _check_owner(self, owner: Owner, manifest: Mapping[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        try:
            current = await self._cluster.get(
                manifest["apiVersion"], manifest["kind"], owner.namespace, name
            )
        except NotFoundError:
            return
        references = current["metadata"].get("ownerReferences", [])
        if any(reference["uid"] == owner.uid for reference in references):
            return
        if any(reference["name"] == owner.name for reference in references):
            raise ConfigurationError(
                "StillBeingDeleted",
                f"{manifest['kind']} '{name}' of the TaskQueue's namesake, deleted before it, is "
                "still there; it goes by itself",
            )
        raise ConfigurationError(
            "NameTaken",
            f"{manifest['kind']} '{name}' exists already and does not belong to this "
            "TaskQueue; delete or rename it",
        )


def _marker(body: Mapping[str, Any]) -> str:
    """Return what changes with the wanted state: a Deployment's status must not count."""
    metadata = body["metadata"]
    version = metadata.get("generation") or metadata["resourceVersion"]
    return f"{metadata['uid']}/{version}"
