"""What is to be done with a Task that waits, and the message that carries it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

from taskqueue_api.conditions import parse_time, read_time, rfc3339
from taskqueue_api.durations import format_duration, parse_duration
from taskqueue_api.messages import TaskHeaders, TaskUid
from taskqueue_api.names import NOT_BEFORE_MAX, TASKS_PRIORITY_DEFAULT
from taskqueue_api.nesting import NESTING_MAX, is_too_deep
from taskqueue_api.payload_source import PayloadSource, read_payload_from
from taskqueue_api.retries import write_policy
from taskqueue_api.status_rules import DEADLINE_EXCEEDED
from taskqueue_api.task import DISPATCHES_MOST, PAYLOAD_MAX_BYTES

QUEUE_NOT_FOUND = "QueueNotFound"

WAITING_PHASES = ("Pending", "Retrying")

NO_PAYLOAD = b"null"
"""The body of a message without payload, or whose payload is elsewhere."""

REPUBLISH_DELAY = timedelta(seconds=10)
"""Between announcing a second publication and making it: by then whoever started the first one
unannounced has written Running."""

OVERDUE = timedelta(minutes=2)

DISPATCHED_THROUGH_MARGIN = timedelta(seconds=10)

DEADLINE_MARGIN = timedelta(seconds=5)
"""After a deadline: by then whoever started in time has written Running."""


class QueueKey(NamedTuple):
    """A TaskQueue."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(body: Mapping[str, Any]) -> QueueKey:
    """Return a TaskQueue object's key."""
    return QueueKey(body["metadata"]["namespace"], body["metadata"]["name"])


@dataclass(frozen=True)
class WaitingTask:
    """A Task that waits for its first attempt or another, as far as its publication needs it.

    phase: Pending or Retrying; or Running, while its message is known to be unacknowledged.
    attempt: the one that it waits for, or that runs, from 1.
    due: when that attempt may start; None: at once.
    deadline: when that attempt may start no more; None: never.
    payload: the message's body, JSON; None: not kept, to be read again.
    timeout, retry: the Task's own; None: the TaskQueue's.
    listed: it was there before we watched, so an earlier operator may have published it.
    too_deep: its payload is nested too deeply to be a message's body, so it is not in `payload`.
    payload_from: where the payload is that the worker gives to the handler; None: it is `payload`.
    """

    uid: TaskUid
    queue: QueueKey
    name: str
    created: datetime
    run: int
    dispatches: int
    handler: str
    priority: int
    timeout: timedelta | None
    payload: bytes | None
    listed: bool
    phase: str = "Pending"
    attempt: int = 1
    due: datetime | None = None
    deadline: datetime | None = None
    retry: str | None = None
    too_deep: bool = False
    payload_from: PayloadSource | None = None

    @property
    def running(self) -> bool:
        """Whether a worker has it, with the message of this attempt or an earlier one."""
        return self.phase == "Running"

    @property
    def retrying(self) -> bool:
        """Whether an attempt has failed, and the worker that ran it has published the next."""
        return self.phase == "Retrying"

    @property
    def stage(self) -> tuple[int, int, str]:
        """How far it has come: run, attempt, phase."""
        return self.run, self.attempt, self.phase

    def announced(self) -> "WaitingTask":
        """Return the Task as of its next publication."""
        # Whoever may write to a status may write the last number; a copy all the same is announced.
        return replace(self, dispatches=min(self.dispatches + 1, DISPATCHES_MOST))


class Publication(Enum):
    """How a waiting Task gets, or got, onto the queue."""

    FIRST = "first"
    AGAIN = "again"
    KNOWN = "known"


class Refusal(NamedTuple):
    """Why a Task can never be run; the error of its status."""

    type: str
    message: str


def read_task(body: Mapping[str, Any], *, listed: bool) -> WaitingTask:
    """Return a Task object as what its publication needs."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    phase = status.get("phase", "Pending")
    attempts = status.get("attempts", 0)
    timeout, deadline = spec.get("timeout"), spec.get("deadline")
    due = {"Pending": spec.get("notBefore"), "Retrying": status.get("nextAttemptTime")}.get(phase)
    payload, source = spec.get("payload"), spec.get("payloadFrom")
    # One that was run is not refused any more, so it must be carried.
    too_deep = phase == "Pending" and is_too_deep(payload)
    return WaitingTask(
        uid=TaskUid(metadata["uid"]),
        queue=QueueKey(metadata["namespace"], spec["queue"]),
        name=metadata["name"],
        created=parse_time(metadata["creationTimestamp"]),
        run=status.get("run", 0),
        dispatches=status.get("dispatches", 1),
        handler=spec["handler"],
        priority=spec.get("priority", TASKS_PRIORITY_DEFAULT),
        timeout=parse_duration(timeout) if timeout else None,
        payload=encode_payload(None if too_deep else payload),
        listed=listed,
        phase=phase,
        attempt={"Retrying": attempts + 1, "Running": attempts}.get(phase, 1),
        due=read_time(due),
        deadline=read_time(deadline),
        retry=write_policy(spec["retry"]) if "retry" in spec else None,
        too_deep=too_deep,
        payload_from=read_payload_from(source) if source else None,
    )


def encode_payload(payload: Any) -> bytes:
    """Return a payload as the body of a message: compact JSON in UTF-8; no payload is `null`."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def decide_refusal(task: WaitingTask, ceiling: timedelta) -> Refusal | None:
    """Return why a Task can never be run; None: it can, and one that was run could.

    ceiling: the timeout of its TaskQueue. What a schema cannot tell is told here.
    """
    if task.retrying or task.running:
        return None
    # The admission policy refuses these two, where the policy is installed.
    if task.payload_from is not None and task.payload not in (None, NO_PAYLOAD):
        return Refusal(
            "PayloadAmbiguous",
            "spec.payload and spec.payloadFrom are both set, and a Task has one payload: create "
            "another Task with one of them",
        )
    if task.due is not None and task.due - task.created > NOT_BEFORE_MAX + timedelta(days=1):
        return Refusal(
            "NotBeforeTooLate",
            f"spec.notBefore is {(task.due - task.created).days} days after the Task's creation; "
            f"at most {NOT_BEFORE_MAX.days} days are possible",
        )
    if task.too_deep:
        return Refusal(
            "PayloadTooDeep",
            f"spec.payload has lists or objects within each other on more than {NESTING_MAX} "
            "levels: make it flatter, or pass it as a string that holds JSON",
        )
    if task.payload is not None and len(task.payload) > PAYLOAD_MAX_BYTES:
        return Refusal(
            "PayloadTooLarge",
            f"spec.payload has {len(task.payload)} bytes as JSON; the limit is "
            f"{PAYLOAD_MAX_BYTES}: put it into a ConfigMap or Secret and name that in "
            "spec.payloadFrom, or store it elsewhere and pass where it is",
        )
    if task.timeout is not None and task.timeout > ceiling:
        return Refusal(
            "TimeoutTooLong",
            f"spec.timeout is {format_duration(task.timeout)}; TaskQueue '{task.queue.name}' "
            f"allows at most {format_duration(ceiling)}: lower it, or raise the queue's "
            "spec.timeout",
        )
    return None


def decide_late(task: WaitingTask) -> Refusal | None:
    """Return why a Task whose deadline has passed has failed; None: it has no deadline."""
    if task.deadline is None:
        return None
    return Refusal(
        DEADLINE_EXCEEDED,
        f"attempt {task.attempt} was not started before the deadline, {rfc3339(task.deadline)}",
    )


def decide_publication(
    task: WaitingTask,
    *,
    dispatched_through: datetime | None,
    delays_unsure: bool,
    started: datetime,
) -> Publication:
    """Return whether a Task seen for the first time was published by an earlier operator.

    dispatched_through: of its TaskQueue; None: unknown.
    delays_unsure: a part of the ladder was gone when this process first saw it.
    started: a moment after the lease of the operator before had ended, by the API server's
        clock. A Task created later was never published.
    """
    if not task.listed or task.created >= started:
        # The worker whose attempt failed has published the next one; who runs it has its message.
        known = task.listed and (task.retrying or task.running)
        return Publication.KNOWN if known else Publication.FIRST
    unsure = task.due is not None and delays_unsure
    # A Task that was started all over was published long after its creation.
    covered = dispatched_through is not None and task.created < dispatched_through
    if covered and task.run == 0 and not unsure:
        return Publication.KNOWN
    return Publication.AGAIN


def decide_dispatched_through(
    *, oldest_unconfirmed: datetime | None, newest_seen: datetime | None
) -> datetime | None:
    """Return the moment before which every waiting Task is published; None: unknown.

    oldest_unconfirmed: without those that were started all over, which it does not cover.
    The margin covers Tasks whose watch event comes later than that of a younger one.
    """
    bound = oldest_unconfirmed or newest_seen
    return bound - DISPATCHED_THROUGH_MARGIN if bound else None


def is_overdue(task: WaitingTask, now: datetime, waited: timedelta) -> bool:
    """Return whether a Task waits for so long that its message is taken for lost.

    waited: since it was seen, or published last. Twice as long after each publication: it may
        also wait behind long work.
    """
    patience: timedelta = OVERDUE * 2 ** min(task.dispatches - 1, 20)
    return not task.running and (task.due or task.created) + OVERDUE < now and waited > patience


def remaining_delay(task: WaitingTask, now: datetime) -> timedelta:
    """Return how long a Task must still be kept from its queue. now: by the API server's clock."""
    return max(task.due - now, timedelta()) if task.due else timedelta()


def build_headers(task: WaitingTask, cluster: str, ceiling: timedelta) -> TaskHeaders:
    """Return the headers of a Task's message."""
    return TaskHeaders(
        cluster=cluster,
        namespace=task.queue.namespace,
        name=task.name,
        created=task.created,
        run=task.run,
        attempt=task.attempt,
        dispatches=task.dispatches,
        timeout=min(task.timeout or ceiling, ceiling),
        retry=task.retry,
        delayed=task.due is not None,
        deadline=task.deadline,
        payload_from=task.payload_from,
    )
