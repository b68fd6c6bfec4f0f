"""Reconciles TaskQueues: broker, credentials, workers; one at a time per TaskQueue."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from taskqueue_api import names
from taskqueue_api.conditions import parse_time
from taskqueue_api.durations import parse_duration
from taskqueue_api.taskqueue import TaskQueue, WorkerCounts
from taskqueue_operator import metrics
from taskqueue_operator.broker.link import Link
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.readiness import (
    Finding,
    build_conditions,
    decide_workers_ready,
)
from taskqueue_operator.domain.topology import Topology, build_topology
from taskqueue_operator.domain.workers import (
    Owner,
    WorkerDefaults,
    build_access,
    build_broker_secret,
    build_deployment,
    decide_replicas,
)
from taskqueue_operator.errors import (
    BrokerError,
    ClusterError,
    ClusterUnavailableError,
    ConfigurationError,
    NamespaceTerminatingError,
)
from taskqueue_operator.services.brokers import BrokerChoice, Brokers
from taskqueue_operator.services.children import Children
from taskqueue_operator.services.counts import Counts
from taskqueue_operator.services.credentials import Credentials, WorkerCredentials
from taskqueue_operator.services.dispatcher import Dispatcher
from taskqueue_operator.services.lanes import Gate
from taskqueue_operator.services.requests import Requests
from taskqueue_operator.services.status import StatusBoard

CONNECT_SECONDS = 5.0

_NOT_CHECKED = Finding("Unknown", "BrokerNotReady", "not checked while the broker is not ready")

logger = logging.getLogger(__name__)


class TaskQueues:
    """All TaskQueues that this operator watches."""

    def __init__(
        self,
        *,
        cluster: ClusterClient,
        brokers: Brokers,
        credentials: Credentials,
        children: Children,
        dispatcher: Dispatcher,
        board: StatusBoard,
        counts: Counts,
        requests: Requests,
        defaults: WorkerDefaults,
    ) -> None:
        self._cluster = cluster
        self._brokers = brokers
        self._credentials = credentials
        self._children = children
        self._dispatcher = dispatcher
        self._board = board
        self._counts = counts
        self._requests = requests
        self._defaults = defaults
        self._objects: dict[QueueKey, Mapping[str, Any]] = {}
        self._deployments: dict[QueueKey, Mapping[str, Any]] = {}
        self._first_through: dict[str, str | None] = {}
        self._locks: dict[QueueKey, asyncio.Lock] = {}

    def seen(self, body: Mapping[str, Any]) -> None:
        """Take note of a TaskQueue as it is now."""
        key = key_of(body)
        self._objects[key] = body
        self._board.seen(key, body)
        self._counts.queue_seen(key)
        # What an earlier operator left counts, not what this one writes later.
        through = (body.get("status") or {}).get("dispatchedThrough")
        self._first_through.setdefault(body["metadata"]["uid"], through)

    def gone(self, body: Mapping[str, Any]) -> None:
        """Take note that a TaskQueue no longer exists."""
        key = key_of(body)
        if self._objects.pop(key, None) is None:
            return
        self._first_through.pop(body["metadata"]["uid"], None)
        self._locks.pop(key, None)
        self._deployments.pop(key, None)
        self._requests.forget(key)
        self._board.gone(key)
        self._counts.queue_gone(key)
        self._children.forget(owner_of(body))
        self._dispatcher.close_queue(key)
        self._brokers.release(key)

    def known(self) -> list[QueueKey]:
        """Return all known TaskQueues."""
        return list(self._objects)

    def child_seen(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """Take note of an owned object, and repair it when somebody changed or deleted it."""
        queue = body["metadata"].get("labels", {}).get(names.QUEUE_LABEL)
        key = QueueKey(body["metadata"]["namespace"], queue or "")
        drifted = self._children.observe(body, deleted=deleted)
        if body["kind"] == "Deployment":
            if deleted:
                self._deployments.pop(key, None)
            else:
                # Also of a TaskQueue that is not known yet: the lists come in any order.
                self._deployments[key] = body
        if key in self._objects and (drifted or body["kind"] == "Deployment"):
            self._requests.soon(key)

    def broker_changed(self, keys: list[QueueKey], link: Link) -> None:
        """Hold the TaskQueues of a broker that went away; look at them when it is back."""
        for key in keys:
            if not link.connected.is_set():
                fault = link.fault
                self._dispatcher.hold(
                    key, fault.reason if fault else "BrokerUnreachable", str(fault or "")
                )
            self._requests.soon(key)

    async def reconcile(self, key: QueueKey) -> None:
        """Make a TaskQueue's queue and workers what its spec says, and its status what is found."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            body = self._objects.get(key)
            if body is None or body["metadata"].get("deletionTimestamp"):
                return
            with metrics.RECONCILE_SECONDS.time():
                fields = {"namespace": key.namespace, "queue": key.name}
                try:
                    reason = await self._reconcile(key, body)
                except ClusterUnavailableError as error:
                    reason = "ApiServerUnavailable"
                    logger.warning("reconcile put off: %s", error, extra=fields)
                except NamespaceTerminatingError:
                    # The TaskQueue itself is deleted a moment later.
                    reason = "NamespaceTerminating"
                    logger.info("not reconciled: its namespace is being deleted", extra=fields)
            metrics.RECONCILES.labels(reason).inc()
            if reason != "Ready":
                self._requests.trouble(key)

    async def _reconcile(self, key: QueueKey, body: Mapping[str, Any]) -> str:
        """Do it; return the reason of the Ready condition."""
        owner = owner_of(body)
        spec = TaskQueue.model_validate(body).spec
        choice: BrokerChoice | None = None
        try:
            choice = await self._brokers.choose(key, spec.broker)
            broker = await self._ensure_queue(key, owner, choice, spec.queue.type)
        except (BrokerError, ConfigurationError) as error:
            broker = Finding("False", error.reason, str(error))
            self._dispatcher.hold(key, "QueueNotReady", f"{error.reason}: {error}")
        credentials = WorkerCredentials(None, _NOT_CHECKED)
        if choice and broker.ok:
            credentials = await self._ensure_credentials(owner, choice)
        workers = await self._ensure_workers(key, owner, spec, credentials)
        if broker.ok:
            self._open_gate(key, body, parse_duration(spec.timeout))
        conditions = build_conditions(
            body["metadata"]["generation"], broker, credentials.finding, workers
        )
        self._board.conditions(key, body["metadata"]["generation"], conditions)
        return conditions[0].reason

    async def _ensure_queue(
        self, key: QueueKey, owner: Owner, choice: BrokerChoice, queue_type: str
    ) -> Finding:
        link = self._brokers.use(key, choice.address)
        await link.wait(CONNECT_SECONDS)
        topology = build_topology(
            namespace=owner.namespace,
            name=owner.name,
            queue_type=queue_type,
            cluster=self._defaults.cluster,
            version=link.version,
        )
        await self._declare(key, owner, link, topology)
        return Finding(
            "True",
            "Declared",
            f"queue '{topology.work.name}' is declared at {choice.address.host}, "
            f"vhost '{choice.address.vhost}'",
        )

    async def _declare(self, key: QueueKey, owner: Owner, link: Link, topology: Topology) -> None:
        """Declare the topology; what a work queue had held that is gone is published again."""
        async with await link.open_channel() as channel:
            missing = await channel.inspect(topology.work.name) is None
        if missing:
            # First, and in the status too: an operator that dies after the declaration leaves
            # a queue behind that looks as if nothing had happened.
            self._first_through[owner.uid] = None
            await self._board.clear_dispatched_through(key)
            self._dispatcher.queue_lost(key)
        async with await link.open_channel() as channel:
            await channel.declare(topology)

    async def _ensure_credentials(self, owner: Owner, choice: BrokerChoice) -> WorkerCredentials:
        try:
            return await self._credentials.ensure(owner, choice)
        except (ClusterUnavailableError, NamespaceTerminatingError):
            raise
        except ClusterError as error:
            return WorkerCredentials(None, Finding("False", "ApiServerRefused", str(error)))

    async def _ensure_workers(
        self, key: QueueKey, owner: Owner, spec: Any, credentials: WorkerCredentials
    ) -> Finding:
        """Apply what runs the workers; without credentials, only what is there already."""
        desired, _ = decide_replicas(spec.workers)
        try:
            secret_hash = await self._ensure_secret(owner, credentials)
            if secret_hash is None:
                return Finding(
                    "Unknown", "NoCredentials", "not started: there are no broker credentials yet"
                )
            await self._children.apply(
                owner,
                [
                    *build_access(owner),
                    build_deployment(owner, spec, self._defaults, secret_hash),
                ],
            )
            deployment = await self._find_deployment(key)
            status = deployment.get("status", {})
            pods = []
            if status.get("readyReplicas", 0) < desired:
                pods = await self._cluster.list_pods(
                    owner.namespace, names.worker_labels(owner.name)
                )
        except ConfigurationError as error:
            return Finding("False", error.reason, str(error))
        except (ClusterUnavailableError, NamespaceTerminatingError):
            raise
        except ClusterError as error:
            return Finding("False", "ApiServerRefused", str(error))
        self._board.workers(key, count_workers(owner, desired, status))
        return decide_workers_ready(desired, deployment, pods)

    async def _find_deployment(self, key: QueueKey) -> Mapping[str, Any]:
        """Return the workers' Deployment as last seen, or read it: its watch may be behind."""
        if key not in self._deployments:
            self._deployments[key] = await self._cluster.get(
                "apps/v1", "Deployment", key.namespace, names.child(key.name)
            )
        return self._deployments[key]

    async def _ensure_secret(self, owner: Owner, credentials: WorkerCredentials) -> str | None:
        """Apply the workers' Secret; return its hash, None: there is nothing to give them.

        Without fresh credentials the Deployment keeps the hash that it has, so that a broker
        that is away for a while does not roll the workers.
        """
        address = credentials.address
        if address is None:
            deployment = self._deployments.get(QueueKey(owner.namespace, owner.name))
            if deployment is None:
                return None
            annotations = deployment["spec"]["template"]["metadata"].get("annotations", {})
            return str(annotations.get(names.BROKER_HASH_ANNOTATION, "")) or None
        await self._children.check(owner, "Secret", names.broker_secret(owner.name))
        await self._children.apply(owner, [build_broker_secret(owner, address.uri, address.ca)])
        return address.fingerprint()

    def _open_gate(self, key: QueueKey, body: Mapping[str, Any], ceiling: Any) -> None:
        link = self._brokers.link_of(key)
        if link is None or not link.connected.is_set():
            return
        through = self._first_through.get(body["metadata"]["uid"])
        self._dispatcher.open(
            key,
            Gate(
                link=link,
                ceiling=ceiling,
                dispatched_through=parse_time(through) if through else None,
            ),
        )


def key_of(body: Mapping[str, Any]) -> QueueKey:
    """Return a TaskQueue object's key."""
    return QueueKey(body["metadata"]["namespace"], body["metadata"]["name"])


def owner_of(body: Mapping[str, Any]) -> Owner:
    """Return a TaskQueue object as the owner of others."""
    metadata = body["metadata"]
    return Owner(metadata["namespace"], metadata["name"], metadata["uid"])


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
