"""What happens in RabbitMQ when a TaskQueue is deleted. It never hangs.

The Kubernetes objects go by their owner references; the broker's have no such thing, hence the
finalizer. First the workers finish what they run: until then they need their rights and their user,
to write how it ended. Whatever cannot be deleted within a minute after that is left behind and said
so.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from taskqueue_api import names
from taskqueue_api.schema import Model
from taskqueue_api.taskqueue import BrokerSpec, TaskQueueSpec
from taskqueue_operator.broker.link import Link
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.broker_address import BrokerAddress
from taskqueue_operator.domain.dispatching import QueueKey, key_of
from taskqueue_operator.domain.draining import decide_drain, describe_drain
from taskqueue_operator.domain.kept_queues import describe_kept
from taskqueue_operator.domain.workers import owner_of
from taskqueue_operator.errors import (
    ClusterError,
    ConfigurationError,
    ManagementError,
    NamespaceTerminatingError,
    NotFoundError,
    OperatorError,
)
from taskqueue_operator.services.brokers import Brokers
from taskqueue_operator.services.credentials import Credentials
from taskqueue_operator.services.dispatcher import Dispatcher
from taskqueue_operator.services.letter_limits import LetterLimits
from taskqueue_operator.services.status import StatusBoard
from taskqueue_operator.services.token_queues import delete_tokens

PATIENCE_SECONDS = 60.0
CONNECT_SECONDS = 3.0

logger = logging.getLogger(__name__)


HOPELESS = ("SecretNotFound", "SecretInvalid", "NoBroker", "VhostMismatch")
"""Faults of a broker's address that waiting does not mend."""

POLICIES = ("Delete", "DeleteIfEmpty", "Retain")


class Wanted(Model):
    """What a deletion needs to know of a spec: the rest may be of a later version.

    deletion_policy: of a later version too; then it is none of POLICIES.
    """

    broker: BrokerSpec = BrokerSpec()
    deletion_policy: str = TaskQueueSpec.model_fields["deletion_policy"].default


class SpecUnknownError(OperatorError):
    """What a deletion needs to know of a spec is of a later version."""


def read_wanted(body: Mapping[str, Any]) -> Wanted:
    """Return what a deletion needs to know of a TaskQueue. Raises SpecUnknownError."""
    try:
        return Wanted.model_validate(body.get("spec") or {})
    except ValidationError as error:
        faults = [
            f"spec.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise SpecUnknownError(
            f"this version of the operator does not know {'; '.join(faults)}"
        ) from error


def shares_secret(body: Mapping[str, Any]) -> bool:
    """Return whether a TaskQueue's workers used the named Secret as it is."""
    conditions = (body.get("status") or {}).get("conditions", [])
    return any(condition.get("reason") == "SharedSecret" for condition in conditions)


def is_hopeless(error: Exception) -> bool:
    """Return whether waiting does not mend a fault."""
    if isinstance(error, ConfigurationError):
        return error.reason in HOPELESS
    return isinstance(error, SpecUnknownError)


class NotYetError(Exception):
    """The teardown is to be tried again shortly."""


class DrainingError(NotYetError):
    """Workers finish what they run, which Kubernetes bounds by their grace; then it begins anew."""


class Teardown:
    """Deletes a TaskQueue's queues, user and limits, as its deletionPolicy says."""

    def __init__(
        self,
        cluster: ClusterClient,
        brokers: Brokers,
        credentials: Credentials,
        limits: LetterLimits,
        dispatcher: Dispatcher,
        board: StatusBoard,
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._brokers = brokers
        self._credentials = credentials
        self._limits = limits
        self._dispatcher = dispatcher
        self._board = board
        self._now = now

    async def run(self, body: Mapping[str, Any], waited: float) -> None:
        """Delete what is to be deleted. Raises NotYetError while waiting makes sense.

        waited: seconds since the first try after the last DrainingError, by a clock that nobody
        sets.
        """
        key = key_of(body)
        patient = waited < PATIENCE_SECONDS
        self._dispatcher.hold(key, "QueueNotReady", f"TaskQueue '{key.name}' is being deleted")
        try:
            await self._stop_workers(key)
            await self._drain_workers(body, key, patient=patient)
            await self._delete_broker_objects(body, key, patient=patient)
        except NotYetError:
            raise
        except Exception as error:
            if patient and not is_hopeless(error):
                raise NotYetError(str(error)) from error
            if not isinstance(error, OperatorError):
                logger.exception("teardown failed")
            await self._tell(
                body,
                "BrokerObjectsLeft",
                f"queues '{names.work_queue(*key)}' and '{names.dead_letter_queue(*key)}' and "
                "their user and limits could not be deleted from RabbitMQ and may be left there: "
                f"{error}",
            )
        if not self._cluster.may_write():
            # Patience does not count here: what is left is the next operator's to delete.
            raise NotYetError("the lease of this operator is over")

    async def _delete_broker_objects(
        self, body: Mapping[str, Any], key: QueueKey, *, patient: bool
    ) -> None:
        wanted = read_wanted(body)
        link = await self._link(key, wanted.broker)
        # Whatever the policy: they hold nobody's Tasks.
        await delete_tokens(link, list(self._board.token_queues(key)))
        kept = await self._delete_queues(key, link, wanted.deletion_policy, patient)
        for message in kept:
            await self._tell(body, "QueueKept", message)
        if wanted.deletion_policy not in POLICIES:
            await self._tell(
                body,
                "BrokerObjectsLeft",
                f"queues '{names.work_queue(*key)}' and '{names.dead_letter_queue(*key)}' are left "
                "in RabbitMQ: this version of the operator does not know "
                f"spec.deletionPolicy '{wanted.deletion_policy}'",
            )
        if shares_secret(body):
            return  # its workers had no user of their own
        try:
            await self._credentials.remove(owner_of(body), link.address)
            await self._limits.remove(key, link.address)
        except ManagementError as error:
            if patient:
                raise
            user = names.broker_user(*key, body["metadata"]["uid"])
            await self._tell(
                body,
                "BrokerObjectsLeft",
                f"user '{user}' or the limits of dead letters could not be deleted from RabbitMQ "
                f"and may be left there: {error}",
            )

    async def _stop_workers(self, key: QueueKey) -> None:
        try:
            await self._cluster.delete(
                "apps/v1", "Deployment", key.namespace, names.child(key.name)
            )
        except NotFoundError:
            return
        except ClusterError as error:
            # Its owner reference ends it a moment later anyway.
            logger.warning("%s", error, extra={"namespace": key.namespace, "queue": key.name})

    async def _drain_workers(
        self, body: Mapping[str, Any], key: QueueKey, *, patient: bool
    ) -> None:
        """Wait for the worker pods. Raises DrainingError, and NotYetError as long as `patient`."""
        try:
            pods = await self._cluster.list_pods(key.namespace, names.worker_labels(key.name))
        except ClusterError as error:
            if patient:
                raise
            logger.warning("%s", error, extra={"namespace": key.namespace, "queue": key.name})
            return
        drain = decide_drain(pods, self._now())
        if drain.stopping:
            generation = body["metadata"]["generation"]
            self._board.conditions(key, generation, [describe_drain(drain, generation)])
            raise DrainingError(f"{drain.stopping} workers finish what they run")
        if drain.going_on and patient:
            raise NotYetError(f"{drain.going_on} workers have not been told to stop yet")

    async def _link(self, key: QueueKey, broker: BrokerSpec) -> Link:
        """Return the connection, by the Secret or, if that is gone, the one still open."""
        known = self._brokers.link_of(key)
        try:
            address: BrokerAddress = (await self._brokers.choose(key, broker)).address
        except ConfigurationError:
            if known is None:
                raise
            link = known
        else:
            link = self._brokers.use(key, address)
        await link.wait(CONNECT_SECONDS)
        return link

    async def _delete_queues(
        self, key: QueueKey, link: Link, policy: str, patient: bool
    ) -> list[str]:
        """Delete the queues that the policy gives up; return a sentence for each one kept."""
        if policy not in ("Delete", "DeleteIfEmpty"):
            return []
        kept = []
        for queue in (names.work_queue(*key), names.dead_letter_queue(*key)):
            async with await link.open_channel() as channel:
                state = await channel.inspect(queue)
            if state is None:
                continue
            if policy == "DeleteIfEmpty":
                if state.consumers and patient:
                    # What a worker holds comes back to the queue when it stops.
                    raise NotYetError(f"{state.consumers} workers still consume from '{queue}'")
                ready = state.ready or await self._brokers.count_for_certain(queue, link.address)
                if ready or state.consumers:
                    kept.append(describe_kept(queue, ready, state.consumers))
                    continue
            async with await link.open_channel() as channel:
                await channel.delete_queue(queue)
        return kept

    async def _tell(self, body: Mapping[str, Any], reason: str, message: str) -> None:
        key = key_of(body)
        logger.warning("%s", message, extra={"namespace": key.namespace, "queue": key.name})
        try:
            await self._cluster.post_event(body, warning=True, reason=reason, message=message)
        except NamespaceTerminatingError:
            return  # it takes no more Events; the log line has it
        except ClusterError as error:
            logger.warning("Event not posted: %s", error)
