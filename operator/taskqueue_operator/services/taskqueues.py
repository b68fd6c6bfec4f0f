"""Reconciles TaskQueues: broker, credentials, workers, limits; one at a time per TaskQueue."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from taskqueue_api.conditions import read_time
from taskqueue_api.durations import parse_duration
from taskqueue_api.history import HistorySpec
from taskqueue_api.taskqueue import TaskQueue, TaskQueueSpec
from taskqueue_operator import metrics
from taskqueue_operator.broker.link import Link
from taskqueue_operator.domain.dispatching import QueueKey, key_of
from taskqueue_operator.domain.lean import without_status
from taskqueue_operator.domain.letter_limits import QUEUE_DEFAULT
from taskqueue_operator.domain.priorities import describe_priorities
from taskqueue_operator.domain.readiness import (
    AT_REST,
    Finding,
    build_conditions,
    internal_error,
)
from taskqueue_operator.domain.topology import Topology, build_topology
from taskqueue_operator.domain.workers import Owner, owner_of
from taskqueue_operator.errors import (
    BrokerError,
    ClusterError,
    ClusterUnavailableError,
    ConfigurationError,
    NamespaceTerminatingError,
)
from taskqueue_operator.services.backlogs import Backlogs
from taskqueue_operator.services.brokers import BrokerChoice, Brokers
from taskqueue_operator.services.counts import Counts
from taskqueue_operator.services.credentials import Credentials, WorkerCredentials
from taskqueue_operator.services.dead_letters import DeadLetters
from taskqueue_operator.services.dispatcher import Dispatcher
from taskqueue_operator.services.ladders import Ladders
from taskqueue_operator.services.lanes import Gate
from taskqueue_operator.services.letter_limits import LetterLimits
from taskqueue_operator.services.requests import Requests
from taskqueue_operator.services.scaler import Scaler
from taskqueue_operator.services.slots import Slots
from taskqueue_operator.services.status import StatusBoard
from taskqueue_operator.services.token_queues import TokenQueues
from taskqueue_operator.services.workers import Workers

CONNECT_SECONDS = 5.0

DECLARE_SECONDS = 300.0
"""Between two declarations of what is there, as far as is known."""

_NOT_CHECKED = Finding("Unknown", "BrokerNotReady", "not checked while the broker is not ready")

logger = logging.getLogger(__name__)


class TaskQueues:
    """All TaskQueues that this operator watches."""

    def __init__(
        self,
        *,
        brokers: Brokers,
        credentials: Credentials,
        workers: Workers,
        scaler: Scaler,
        backlogs: Backlogs,
        dispatcher: Dispatcher,
        board: StatusBoard,
        counts: Counts,
        dead_letters: DeadLetters,
        limits: LetterLimits,
        requests: Requests,
        cluster_uid: str,
    ) -> None:
        self._brokers = brokers
        self._credentials = credentials
        self._workers = workers
        self._scaler = scaler
        self._backlogs = backlogs
        self._declared: dict[QueueKey, tuple[Link, float]] = {}
        self._dispatcher = dispatcher
        self._board = board
        self._counts = counts
        self._dead_letters = dead_letters
        self._limits = limits
        self._requests = requests
        self.changed = requests.soon
        self._cluster_uid = cluster_uid
        self._ladders = Ladders()
        self._tokens = TokenQueues(board)
        self._objects: dict[QueueKey, Mapping[str, Any]] = {}
        self._first_through: dict[str, str | None] = {}
        self._unsure_vhosts: set[str] = set()
        self._well: dict[QueueKey, bool] = {}
        self._doomed: set[str] = set()
        self._slots = Slots()
        # Each lasts for as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[QueueKey, asyncio.Lock] = WeakValueDictionary()

    def seen(self, body: Mapping[str, Any]) -> None:
        """Take note of a TaskQueue as it is now."""
        key = key_of(body)
        known = self._objects.get(key)
        self._objects[key] = without_status(body)
        self._board.seen(key, body)
        self._counts.queue_seen(key)
        if body["metadata"].get("deletionTimestamp"):
            self._scaler.forget(key)  # its workers are on their way out
        self._dead_letters.queue_seen(key, body)
        if known and known["metadata"]["generation"] != body["metadata"]["generation"]:
            self._workers.outdated(key)
            self._counts.changed(key.namespace)  # its history may be another
        # What an earlier operator left counts, not what this one writes later.
        through = (body.get("status") or {}).get("dispatchedThrough")
        self._first_through.setdefault(body["metadata"]["uid"], through)
        self._dispatcher.queue_seen(key)

    def gone(self, body: Mapping[str, Any]) -> None:
        """Take note that a TaskQueue no longer exists."""
        key = key_of(body)
        known = self._objects.get(key)
        if known is None or known["metadata"]["uid"] != body["metadata"]["uid"]:
            return  # the events of an object and of its namesake may come in either order
        del self._objects[key]
        self._forget(key, body)

    def _forget(self, key: QueueKey, body: Mapping[str, Any]) -> None:
        """Keep nothing of a TaskQueue, and nothing for it."""
        self._first_through.pop(body["metadata"]["uid"], None)
        self._doomed.discard(body["metadata"]["uid"])
        self._requests.forget(key)
        self._board.gone(key)
        self._counts.queue_gone(key)
        self._dead_letters.queue_gone(key)
        self._declared.pop(key, None)
        self._well.pop(key, None)
        self._workers.forget(owner_of(body))
        self._scaler.forget(key)
        self._dispatcher.close_queue(key)
        self._brokers.release(key)
        self._forget_vhosts()

    def _forget_vhosts(self) -> None:
        """Forget the unsure vhosts that nobody uses; who has no connection yet may use any."""
        links = [self._brokers.link_of(key) for key in self._objects]
        used = {link.address.vhost for link in links if link is not None}
        if None not in links:
            self._unsure_vhosts &= used

    def history_of(self, key: QueueKey) -> HistorySpec | None:
        """Return what a TaskQueue says of its finished Tasks.

        Empty: nothing. None: there is no such TaskQueue, or it is being deleted.
        """
        body = self._objects.get(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            return None
        return HistorySpec.model_validate(body["spec"].get("history") or {})

    def known(self) -> list[QueueKey]:
        """Return all known TaskQueues."""
        return list(self._objects)

    def bodies(self, namespace: str | None) -> list[Mapping[str, Any]]:
        """Return the known TaskQueues of a namespace, or of all, as they were last seen."""
        found = self._objects.items()
        return [body for key, body in found if namespace in (None, key.namespace)]

    def child_seen(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """Take note of an owned object, and repair it when somebody changed or deleted it."""
        key = self._workers.child_seen(body, deleted=deleted)
        if key in self._objects:
            self._requests.soon(key)

    async def scale(self, key: QueueKey) -> None:
        """Give a TaskQueue's Deployment its number of pods. Raises ClusterError.

        Not under the lock: a reconcile may take long, as with a broker that does not answer.
        """
        body = self._objects.get(key)
        if body is not None and not body["metadata"].get("deletionTimestamp"):
            await self._workers.scale(owner_of(body))

    def broker_changed(self, keys: list[QueueKey], link: Link) -> None:
        """Hold the TaskQueues of a broker that went away; look at them when it is back."""
        for key in keys:
            if not link.connected.is_set():
                self._declared.pop(key, None)
                self._ladders.forget(link)
                fault = link.fault
                why = f"{fault.reason}: {fault}" if fault else "BrokerUnreachable"
                self._dispatcher.hold(key, "QueueNotReady", why)
            self._requests.soon(key)

    def distrust(self, key: QueueKey) -> None:
        """Look at all that a TaskQueue needs in RabbitMQ: a publication was not taken."""
        self._declared.pop(key, None)
        link = self._brokers.link_of(key)
        if link is not None:
            self._ladders.forget(link)
        self._requests.trouble(key)

    def lock(self, key: QueueKey) -> asyncio.Lock:
        """Return what keeps reconciles and the deletion of a TaskQueue apart."""
        return self._locks.setdefault(key, asyncio.Lock())

    def is_at_rest(self, key: QueueKey) -> bool:
        """Return whether all was well, nothing is to be done since, and no worker is there."""
        link, reading = self._brokers.link_of(key), self._backlogs.reading(key)
        return (
            self._well.get(key, False)
            and link is not None
            and link.connected.is_set()
            and self._declared.get(key, (None, 0.0))[0] is link
            and reading is not None
            and reading.letters is not None
            and reading.messages == 0
            and not self._dispatcher.has_open(key)
            and self._workers.are_none(key)
        )

    async def verify(self, key: QueueKey) -> bool:
        """Read what a TaskQueue owns, and reconcile it; return whether all could be read."""
        body = self._objects.get(key)
        if body is None:
            return False
        is_read = True
        try:
            await self._workers.verify(owner_of(body))
        except ClusterError as error:
            is_read = False
            fields = {"namespace": key.namespace, "queue": key.name}
            logger.warning("owned objects not read: %s", error, extra=fields)
        await self.reconcile(key)
        return is_read

    def _find_living(self, key: QueueKey) -> Mapping[str, Any] | None:
        """Return a TaskQueue that is there to stay, as far as is known."""
        body = self._objects.get(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            return None
        return None if body["metadata"]["uid"] in self._doomed else body

    async def reconcile(self, key: QueueKey) -> None:
        """Make a TaskQueue's queue and workers what its spec says, and its status what is found."""
        if self._find_living(key) is None:
            return
        async with self.lock(key), self._slots.of(key, self._objects.get(key)):
            body = self._find_living(key)
            if body is None:
                return
            with metrics.RECONCILE_SECONDS.time():
                fields = {"namespace": key.namespace, "queue": key.name}
                try:
                    reason = await self._reconcile(key, body)
                except ClusterUnavailableError as error:
                    reason = "ApiServerUnavailable"
                    logger.warning("reconcile put off: %s", error, extra=fields)
                except NamespaceTerminatingError:
                    # The TaskQueue goes too; until then each object that it owned would say so.
                    self._doomed.add(body["metadata"]["uid"])
                    reason = "NamespaceTerminating"
                    logger.info("not reconciled: its namespace is being deleted", extra=fields)
                except Exception:
                    reason = "InternalError"
                    logger.exception("reconcile failed", extra=fields)
                    generation = body["metadata"]["generation"]
                    self._board.conditions(key, generation, [internal_error(generation)])
            metrics.RECONCILES.labels(reason).inc()
            if reason not in AT_REST:
                self._well.pop(key, None)
            if key not in self._objects:
                # It went meanwhile, as it does when somebody takes its finalizer away: what was
                # done since is undone.
                self._forget(key, body)
            elif reason not in AT_REST:
                self._requests.trouble(key)

    async def _reconcile(self, key: QueueKey, body: Mapping[str, Any]) -> str:
        """Do it; return the reason of the Ready condition."""
        owner = owner_of(body)
        spec = TaskQueue.model_validate(body).spec
        self._scaler.configure(key, body, spec)
        choice: BrokerChoice | None = None
        try:
            choice = await self._brokers.choose(key, spec.broker)
            broker = await self._ensure_queue(key, owner, choice, spec)
        except (BrokerError, ConfigurationError) as error:
            broker = Finding("False", error.reason, str(error))
            self._dispatcher.hold(key, "QueueNotReady", f"{error.reason}: {error}")
        credentials = WorkerCredentials(None, _NOT_CHECKED)
        if choice and broker.ok:
            credentials = await self._ensure_credentials(owner, choice)
        if broker.ok:
            self._open_gate(key, body, parse_duration(spec.timeout))
        workers = await self._workers.ensure(owner, spec, credentials)
        limits = priorities = _NOT_CHECKED
        link = self._brokers.link_of(key)
        if link and broker.ok:
            priorities = describe_priorities(spec.queue.type, link.version)
            await self._tokens.drop_old(key, link, spec.workers, self._workers.rolled_out(key))
        if choice and broker.ok:
            # Last: a management API that does not answer takes its time.
            limits = await self._limits.ensure(key, choice.address, spec.dead_letter)
        conditions = build_conditions(
            body["metadata"]["generation"], broker, credentials.finding, workers, limits, priorities
        )
        self._board.conditions(key, body["metadata"]["generation"], conditions)
        # Of limits RabbitMQ tells nothing by itself, and only the second look shows whose apply.
        self._well[key] = credentials.finding.ok and limits.reason == QUEUE_DEFAULT
        return conditions[0].reason

    async def _ensure_queue(
        self, key: QueueKey, owner: Owner, choice: BrokerChoice, spec: TaskQueueSpec
    ) -> Finding:
        link = self._brokers.use(key, choice.address)
        await link.wait(CONNECT_SECONDS)
        topology = build_topology(
            namespace=owner.namespace,
            name=owner.name,
            queue_type=spec.queue.type,
            cluster=self._cluster_uid,
            version=link.version,
        )
        await self._declare(key, owner, link, topology)
        await self._tokens.ensure(key, link, spec.workers)
        return Finding(
            "True",
            "Declared",
            f"queue '{topology.work.name}' is declared at {choice.address.host}, "
            f"vhost '{choice.address.vhost}'",
        )

    async def _declare(self, key: QueueKey, owner: Owner, link: Link, topology: Topology) -> None:
        """Declare the topology; what a work queue had held that is gone is published again.

        Not while one call for all queues tells that its queues are there, but every few minutes.
        """
        now = asyncio.get_running_loop().time()
        reading = self._backlogs.reading(key)
        known, moment = self._declared.get(key, (None, 0.0))
        fresh = known is link and now - moment < DECLARE_SECONDS
        if fresh and reading and reading.letters is not None:
            self._dispatcher.sweep(key, empty=not reading.ready)
            await self._ladders.ensure(link, lambda: self._ladder_lost(link.address.vhost))
            return
        self._declared.pop(key, None)
        async with await link.open_channel() as channel:
            found = await channel.inspect(topology.work.name)
        if found is not None:
            self._dispatcher.sweep(key, empty=not found.ready)
        if found is None:
            # First, and in the status too: an operator that dies after the declaration leaves
            # a queue behind that looks as if nothing had happened.
            self._first_through[owner.uid] = None
            self._dispatcher.queue_lost(key)
            await self._board.clear_dispatched_through(key)
        async with await link.open_channel() as channel:
            letters = await channel.declare(topology)
        await self._dead_letters.take(key, letters)
        await self._ladders.ensure(link, lambda: self._ladder_lost(link.address.vhost))
        self._declared[key] = link, now

    def _ladder_lost(self, vhost: str) -> None:
        """Publish again what waited for a time in a vhost, by whatever connection.

        Brokers are not told apart: a second copy of a message does no harm.
        """
        self._unsure_vhosts.add(vhost)
        for key in self._objects:
            link = self._brokers.link_of(key)
            if link is not None and link.address.vhost == vhost:
                self._dispatcher.ladder_lost(key)

    async def _ensure_credentials(self, owner: Owner, choice: BrokerChoice) -> WorkerCredentials:
        try:
            return await self._credentials.ensure(owner, choice)
        except (ClusterUnavailableError, NamespaceTerminatingError):
            raise
        except ClusterError as error:
            return WorkerCredentials(None, Finding("False", "ApiServerRefused", str(error)))

    def _open_gate(self, key: QueueKey, body: Mapping[str, Any], ceiling: Any) -> None:
        link = self._brokers.link_of(key)
        if key not in self._objects or link is None or not link.connected.is_set():
            return
        through = self._first_through.get(body["metadata"]["uid"])
        self._dispatcher.open(
            key,
            Gate(
                link=link,
                ceiling=ceiling,
                dispatched_through=read_time(through),
                delays_unsure=link.address.vhost in self._unsure_vhosts,
            ),
        )
