"""The state of the model: plain immutable values, so that states can be compared and kept.

Times are milliseconds since EPOCH; one clock for everybody.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from taskqueue_api.retries import ONCE, RetryPolicy
from taskqueue_operator.domain.dispatching import WaitingTask
from taskqueue_operator.services.lanes import Place
from taskqueue_worker.claim import Path
from taskqueue_worker.deliveries import Tag
from taskqueue_worker.inflight import State
from taskqueue_worker.outcomes import Outcome, Success, failure
from taskqueue_worker.settle import Settlement
from taskqueue_worker.statuses import Attempt, Identity

EPOCH = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
CLUSTER = "cluster"
SECOND = 1000
TIMEOUT = 3 * SECOND
"""Of a handler. Longer than the second after which it is shown as Running; that is all it needs."""


T = TypeVar("T")


def hashed_once(kind: type[T]) -> type[T]:
    """Let the instances of a frozen dataclass keep their hash: most of a state stays as it is."""
    compute = kind.__hash__

    def kept(self: T) -> int:
        known: int | None = self.__dict__.get("_hash")
        if known is None:
            known = self.__dict__["_hash"] = compute(self)
        return known

    kind.__hash__ = kept  # type: ignore[method-assign, assignment]
    return kind


def replace(value: T, **changes: Any) -> T:
    """Return a dataclass with other values, as `dataclasses.replace`, which is ten times slower."""
    new = object.__new__(type(value))
    new.__dict__.update(value.__dict__)
    new.__dict__.pop("_hash", None)
    new.__dict__.update(changes)
    return new


class ViolationError(Exception):
    """Something happened that must never happen; the text says what."""


def to_datetime(now: int) -> datetime:
    """Return a time of the model as datetime."""
    return EPOCH + timedelta(milliseconds=now)


def to_millis(moment: datetime) -> int:
    """Return a datetime as a time of the model."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


@hashed_once
@dataclass(frozen=True)
class Message:
    """A message of a Task."""

    uid: str
    headers: tuple[tuple[str, Any], ...]
    redelivered: bool = False


@hashed_once
@dataclass(frozen=True)
class Unacked:
    """A message that a consumer holds, as the broker sees it."""

    worker: int
    tag: Tag
    message: Message


@hashed_once
@dataclass(frozen=True)
class Delayed:
    """A message in the ladder. due: when it comes out."""

    due: int
    message: Message


@dataclass(frozen=True)
class DeadLetter:
    """A message in the dead-letter queue."""

    uid: str
    run: int
    error: str


@hashed_once
@dataclass(frozen=True)
class Seen:
    """One resumption of a coroutine: when, with which attempts in hand, with which answer."""

    now: int
    live: frozenset[tuple[str, int, int]]
    answer: Any


Log = tuple[Seen, ...]


@hashed_once
@dataclass(frozen=True)
class Claiming:
    """A slot asks whether it may start."""

    log: Log


@hashed_once
@dataclass(frozen=True)
class Claimed:
    """The claim has succeeded, the handler is not started yet. doomed: as of Running."""

    attempt: Attempt
    announced: bool
    path: Path
    doomed: bool = False


@hashed_once
@dataclass(frozen=True)
class Running:
    """The handler runs. doomed: given up by the others, rightly: it was lost or cut off."""

    attempt: Attempt
    since: int
    announced: bool
    doomed: bool = False


@hashed_once
@dataclass(frozen=True)
class Finishing:
    """The handler has ended, its outcome is being written."""

    attempt: Attempt
    outcome: Outcome
    seconds: float
    announced: bool
    log: Log


@dataclass(frozen=True)
class Settling:
    """Nothing but a publication, perhaps, and the acknowledgement is left to do."""

    settlement: Settlement
    published: bool = False


Stage = Claiming | Claimed | Running | Finishing | Settling | None


@hashed_once
@dataclass(frozen=True)
class Entry:
    """What a worker holds; the real one is `taskqueue_worker.inflight.Entry`.

    judged: the tag by which it came first, which the claim is about.
    until: when it is judged again, or given back, if it was parked beyond what a worker keeps.
    """

    message: Message
    tags: tuple[Tag, ...]
    judged: Tag
    state: State = State.WAITING
    parkings: int = 0
    until: int = 0
    beyond: bool = False
    stage: Stage = None


@hashed_once
@dataclass(frozen=True)
class Worker:
    """One worker pod.

    life: number of the process. started: when it was.
    attached: whether the broker knows its session as a consumer.
    reaches_api: whether its node is there.
    live: the attempts that its `Attempts` counts as running.
    """

    index: int
    pods: int = 0
    life: int = 0
    started: int = -10 * SECOND
    session: int = 1
    attached: bool = True
    reaches_api: bool = True
    draining: bool = False
    entries: tuple[Entry, ...] = ()
    done: tuple[Message, ...] = ()
    live: frozenset[tuple[str, int, int]] = frozenset()

    @property
    def identity(self) -> Identity:
        """Who it says it is."""
        return _identity(self.index, self.pods, self.life)


@cache
def _identity(index: int, pods: int, life: int) -> Identity:
    pod = f"worker-{index}-{pods}"
    return Identity(pod, f"uid-{pod}", "node", f"{pod}/{life}")


@hashed_once
@dataclass(frozen=True)
class Known:
    """A waiting Task as the operator knows it. until: when its second publication may go out."""

    task: WaitingTask
    place: Place
    until: int | None = None


@hashed_once
@dataclass(frozen=True)
class Operator:
    """One life of the operator. through: `dispatchedThrough` as it found it."""

    up: bool = True
    started: int = -60 * SECOND
    listing: bool = False
    listed_at: int = -60 * SECOND
    through: datetime | None = None
    newest: datetime | None = None
    unsure: bool = False
    known: tuple[Known, ...] = ()


@hashed_once
@dataclass(frozen=True)
class Start:
    """A handler was started. excused: its worker was lost or cut off before it said so."""

    uid: str
    run: int
    attempt: int
    instance: str
    excused: bool = False


@hashed_once
@dataclass(frozen=True)
class World:
    """Everything.

    tasks: by name, as stored. through: `status.dispatchedThrough` of the TaskQueue.
    air: writes on their way that nobody waits for any more: name and patch.
    gone: UIDs of deleted Tasks. acts: how much of the scenario's script is done.
    queue_gone, ladder_gone: it was deleted, and the operator has not declared it again yet.
    faults, delays: how many are left. lost: how often a worker was, or was cut off.
    """

    now: int = 0
    tasks: tuple[tuple[str, str], ...] = ()
    ready: tuple[Message, ...] = ()
    unacked: tuple[Unacked, ...] = ()
    ladder: tuple[Delayed, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    workers: tuple[Worker, ...] = ()
    operator: Operator = field(default_factory=Operator)
    through: datetime | None = None
    air: tuple[tuple[str, str], ...] = ()
    starts: tuple[Start, ...] = ()
    gone: frozenset[str] = frozenset()
    queue_gone: bool = False
    ladder_gone: bool = False
    acts: int = 0
    faults: int = 0
    delays: int = 0
    lost: int = 0

    def task(self, name: str) -> str | None:
        """Return a stored Task."""
        return dict(self.tasks).get(name)


SUCCESS = Success(b'"done"')
FAILURE = failure("Boom", "it failed")


@dataclass(frozen=True)
class Scenario:
    """What may happen, and how often.

    script: what users do, in this order, at any time: `create NAME`, `delete NAME`, `label NAME`,
        `rerun NAME`, which is refused before the Task has finished.
    faults: kinds of faults, by name; budget: how many in all.
    patience: how often time may pass although something could be done at once.
    notes: whether the operator writes `dispatchedThrough`.
    prompt: whether the operator does at once what it can; fewer orders, where it matters little.
    blind: whether the operator is away for good once it has published.
    ack_first: a planted bug: a message is acknowledged when its handler ends.
    always: whether Running is written before every start, as the TaskQueue's `claim: Always`.
    strict: whether no attempt may be started twice, not even in the documented window.
    """

    script: tuple[str, ...] = ("create a",)
    workers: int = 2
    slots: int = 1
    policy: RetryPolicy = ONCE
    outcomes: tuple[Outcome, ...] = (SUCCESS,)
    faults: frozenset[str] = frozenset()
    budget: int = 0
    patience: int = 0
    notes: bool = False
    prompt: bool = False
    blind: bool = False
    ack_first: bool = False
    always: bool = False
    strict: bool = False

    def begin(self) -> World:
        """Return the first state."""
        workers = tuple(Worker(index) for index in range(self.workers))
        return World(workers=workers, faults=self.budget, delays=self.patience)
