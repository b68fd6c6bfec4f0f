"""What runs a TaskQueue's workers, as objects in the cluster."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

from taskqueue_api import names
from taskqueue_api.taskqueue import TaskQueueSpec, WorkerCounts
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.lean import lean_deployment
from taskqueue_operator.domain.readiness import (
    Finding,
    decide_resting,
    decide_workers_ready,
    find_fault,
    is_rolled_out,
)
from taskqueue_operator.domain.workers import (
    Owner,
    WorkerDefaults,
    build_access,
    build_broker_secret,
    build_deployment,
    build_disruption_budget,
)
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConfigurationError,
    NamespaceTerminatingError,
    NotFoundError,
)
from taskqueue_operator.services.children import Children
from taskqueue_operator.services.credentials import WorkerCredentials
from taskqueue_operator.services.scaler import Scaler
from taskqueue_operator.services.status import StatusBoard


class Workers:
    """Applies the workers' objects, and looks at how they do.

    spare_busy: called before some pods go, so that those without work go first.
    """

    def __init__(
        self,
        *,
        cluster: ClusterClient,
        children: Children,
        board: StatusBoard,
        scaler: Scaler,
        spare_busy: Callable[[QueueKey], Awaitable[None]],
        defaults: WorkerDefaults,
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._children = children
        self._board = board
        self._scaler = scaler
        self._spare_busy = spare_busy
        self._defaults = defaults
        self._now = now
        self._deployments: dict[QueueKey, Mapping[str, Any]] = {}
        self._given: dict[QueueKey, int] = {}
        self._asked: dict[QueueKey, datetime] = {}
        self._builds: dict[QueueKey, Callable[[int], dict[str, Any]]] = {}
        # Each lasts for as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[QueueKey, asyncio.Lock] = WeakValueDictionary()

    def child_seen(self, body: Mapping[str, Any], *, deleted: bool) -> QueueKey | None:
        """Take note of an owned object; return its TaskQueue when that is to be looked at."""
        metadata = body["metadata"]
        queue = metadata.get("labels", {}).get(names.QUEUE_LABEL, "")
        if metadata["name"] != names.child(queue):
            return None  # somebody's copy of ours, labels and all
        key = QueueKey(metadata["namespace"], queue)
        drifted = self._children.observe(body, deleted=deleted)
        if body["kind"] != "Deployment":
            return key if drifted else None
        if deleted:
            self._deployments.pop(key, None)
        else:
            # Also of a TaskQueue that is not known yet: the lists come in any order.
            self._deployments[key] = lean_deployment(body)
        return key

    def forget(self, owner: Owner) -> None:
        """Forget the objects of a TaskQueue."""
        key = QueueKey(owner.namespace, owner.name)
        self._children.forget(owner)
        self._deployments.pop(key, None)
        self._builds.pop(key, None)
        self._given.pop(key, None)
        self._asked.pop(key, None)

    def outdated(self, key: QueueKey) -> None:
        """Take note that the spec is another: the Deployment is next made by `ensure`."""
        self._builds.pop(key, None)

    async def verify(self, owner: Owner) -> None:
        """Read the owned objects: a deletion can be missed while a watch is broken.

        What has drifted is applied by the next `ensure`. Raises ClusterError.
        """
        await self._children.verify(owner)
        self._deployments.pop(QueueKey(owner.namespace, owner.name), None)

    async def ensure(
        self, owner: Owner, spec: TaskQueueSpec, credentials: WorkerCredentials
    ) -> Finding:
        """Make the workers what the spec says; return how they are.

        Without credentials, only what is there already is changed. Raises
        ClusterUnavailableError and NamespaceTerminatingError.
        """
        key = QueueKey(owner.namespace, owner.name)
        try:
            secret_version = await self._ensure_secret(owner, credentials)
            if secret_version is None:
                return Finding(
                    "Unknown", "NoCredentials", "not started: there are no broker credentials yet"
                )
            access = build_access(owner, spec.workers.payload_sources)
            await self._children.apply(owner, [*access, build_disruption_budget(owner)])
            self._builds[key] = self._keep_build(owner, spec, secret_version)
            if self._scaler.replicas(key) is None:
                self._scaler.start(key, await self._count_replicas(owner))
            await self.scale(owner)
            deployment = await self._find_deployment(owner)
            desired = self._scaler.replicas(key) or 0
            pods = []
            if not is_rolled_out(desired, deployment):
                labels = names.worker_labels(owner.name)
                pods = await self._cluster.list_pods(owner.namespace, labels)
        except ConfigurationError as error:
            return Finding("False", error.reason, str(error))
        except (ClusterUnavailableError, NamespaceTerminatingError):
            raise
        except ClusterError as error:
            return Finding("False", "ApiServerRefused", str(error))
        counts = count_workers(owner, desired, deployment.get("status", {}))
        self._board.workers(key, counts)
        resting = decide_resting(spec) if desired == 0 else None
        scaling = spec.workers.scaling
        least = min(desired, scaling.min_replicas) if scaling else desired
        now = self._now()
        finding = resting or decide_workers_ready(
            desired, least, deployment, pods, now=now, waited=now - self._asked.get(key, now)
        )
        self._scaler.found(key, counts.ready, find_fault(finding))
        return finding

    def _keep_build(
        self, owner: Owner, spec: TaskQueueSpec, secret_version: str
    ) -> Callable[[int], dict[str, Any]]:
        """Return what makes the Deployment; of the spec it keeps the text, a tenth of the model."""
        text = spec.model_dump_json(by_alias=True, exclude_unset=True)

        def build(replicas: int) -> dict[str, Any]:
            again = TaskQueueSpec.model_validate_json(text)
            return build_deployment(owner, again, self._defaults, secret_version, replicas)

        return build

    async def scale(self, owner: Owner) -> None:
        """Give the Deployment the number of pods that is wanted now. Raises ClusterError.

        Also ConfigurationError, as when it belongs to somebody else.
        """
        key = QueueKey(owner.namespace, owner.name)
        async with self._locks.setdefault(key, asyncio.Lock()):
            build, replicas = self._builds.get(key), self._scaler.replicas(key)
            if build is None or replicas is None:
                return
            if 0 < replicas < self._count_given(key):
                await self._spare_busy(key)
                # That takes a while, in which others may have come to be wanted.
                build, replicas = self._builds.get(key), self._scaler.replicas(key)
                if build is None or replicas is None:
                    return
            await self._children.apply(owner, [build(replicas)])
            if self._given.get(key) != replicas:
                self._asked[key] = self._now()
            self._given[key] = replicas
            self._scaler.applied(key, replicas)

    def _count_given(self, key: QueueKey) -> int:
        """Return how many pods the Deployment asks for, by whoever's will."""
        deployment = self._deployments.get(key)
        seen = int(deployment.get("spec", {}).get("replicas", 1)) if deployment else 0
        # What was seen may be older than what was given.
        return max(seen, self._given.get(key, 0))

    def rolled_out(self, key: QueueKey) -> Mapping[str, Any] | None:
        """Return the Deployment if all wanted workers are of its template, and no others left."""
        deployment, desired = self._deployments.get(key), self._scaler.replicas(key)
        if deployment is None or desired is None or not is_rolled_out(desired, deployment):
            return None
        return deployment

    def are_none(self, key: QueueKey) -> bool:
        """Return whether no worker is wanted, and none is left."""
        deployment = self._deployments.get(key)
        if deployment is None or self._count_given(key):
            return False
        return self._scaler.replicas(key) == 0 and not deployment.get("status", {}).get("replicas")

    async def _count_replicas(self, owner: Owner) -> int:
        """Return how many pods the Deployment asks for that an earlier operator has left."""
        try:
            deployment = await self._find_deployment(owner)
        except NotFoundError:
            return 0
        return int(deployment.get("spec", {}).get("replicas", 1))

    async def _find_deployment(self, owner: Owner) -> Mapping[str, Any]:
        """Return the workers' Deployment as last seen, or read it: its watch may be behind."""
        key = QueueKey(owner.namespace, owner.name)
        if key not in self._deployments:
            found = await self._cluster.get(
                "apps/v1", "Deployment", key.namespace, names.child(key.name)
            )
            self._deployments[key] = lean_deployment(found)
        return self._deployments[key]

    async def _ensure_secret(self, owner: Owner, credentials: WorkerCredentials) -> str | None:
        """Apply the workers' Secret; return its version, None: there is nothing to give them.

        Not a hash of it, by which a password that people chose could be guessed. Without fresh
        credentials the Deployment keeps the version that it has, so that a broker that is away
        for a while does not roll the workers.
        """
        address = credentials.address
        if address is None:
            deployment = self._deployments.get(QueueKey(owner.namespace, owner.name))
            if deployment is None:
                return None
            annotations = deployment["spec"]["template"]["metadata"].get("annotations", {})
            return str(annotations.get(names.BROKER_VERSION_ANNOTATION, "")) or None
        secret = build_broker_secret(owner, address.uri, address.ca)
        name = secret["metadata"]["name"]
        self._children.read(owner, "Secret", name, credentials.secret)
        await self._children.apply(owner, [secret])
        return self._children.version(owner, "Secret", name)


def count_workers(owner: Owner, desired: int, status: Mapping[str, Any]) -> WorkerCounts:
    """Return the numbers of workers from a Deployment's status."""
    return WorkerCounts(
        desired=desired,
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        selector=",".join(
            f"{label}={value}" for label, value in names.worker_labels(owner.name).items()
        ),
    )
