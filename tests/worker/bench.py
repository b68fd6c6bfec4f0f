"""A worker between fakes, one at each edge."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, cast

from taskqueue_api.messages import TaskHeaders
from taskqueue_api.names import DELAY_LEVELS, DELAY_UNIT
from taskqueue_api.retries import ONCE, RetryPolicy
from taskqueue_worker.api import WriteAnswer, Written
from taskqueue_worker.attempts import Attempts, Claim, Claimed
from taskqueue_worker.broker import Broker
from taskqueue_worker.claim import Path
from taskqueue_worker.deliveries import Delivery, Tag, TaskMessage
from taskqueue_worker.errors import BrokerError
from taskqueue_worker.limits import Limits
from taskqueue_worker.outcomes import Failure, Outcome, Success
from taskqueue_worker.payloads import Payloads
from taskqueue_worker.place import Place
from taskqueue_worker.runners import Job, OneByOne
from taskqueue_worker.settle import Acknowledge, DeadLetter, Settlement
from taskqueue_worker.statuses import Attempt, Identity, Progress
from taskqueue_worker.tokens import Token
from taskqueue_worker.worker import Worker

ME = Identity(pod="p", pod_uid="pu", node="n", instance="i")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Published(NamedTuple):
    """A copy of a message that was published."""

    exchange: str
    key: str
    uid: str
    headers: dict[str, Any]

    @property
    def error(self) -> str:
        """The error type that it bears."""
        return str(self.headers.get("x-tq-error-type", ""))

    @property
    def attempt(self) -> int:
        """The attempt that it is for."""
        return int(self.headers["x-tq-attempt"])

    @property
    def delay(self) -> timedelta:
        """The time that it spends on the ladder."""
        bits = self.key.split(".")[:DELAY_LEVELS]
        return DELAY_UNIT * int("".join(bits), 2)


class FakeBroker:
    """Keeps what was acknowledged, given back and published, and of which deliveries.

    go: what publications wait for. over: the connection is lost and will not come back. hears:
    whether hints come. asked: how many more messages were asked for.
    """

    def __init__(self) -> None:
        self.session = 1
        self.acked: list[Tag] = []
        self.returned: list[Tag] = []
        self.published: list[Published] = []
        self.copied: list[Delivery] = []
        self.changed = asyncio.Event()
        self.publishing = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.over = False
        self.hears = True
        self.asked: list[int] = []

    def ack(self, tag: Tag) -> bool:
        if tag.session == self.session:
            self.acked.append(tag)
        self.changed.set()
        return tag.session == self.session

    def give_back(self, tag: Tag) -> None:
        self.returned.append(tag)
        self.changed.set()

    def is_current(self, tag: Tag) -> bool:
        return tag.session == self.session

    async def publish_copy(
        self,
        exchange: str,
        key: Callable[[], str],
        delivery: Delivery,
        headers: Any,
        *,
        insist: bool = True,
    ) -> None:
        self.publishing.set()
        await self.go.wait()
        if not (insist or self.is_current(delivery.tag)):
            raise BrokerError("the connection was lost")
        if self.over:
            raise BrokerError("the connection was lost while draining")
        self.copied.append(delivery)
        self.published.append(Published(exchange, key(), delivery.message_id, dict(headers)))

    async def ask_more(self, count: int) -> None:
        self.asked.append(count)
        self.changed.set()

    async def stop_consuming(self) -> None:
        """Nothing is consumed."""


class FakeAttempts:
    """Claims as told, and settles as told or else by the outcome.

    released: what was claimed and then not started. suspected: of each claim, whether the
    operator had hinted at its Task. wanted: whether what runs is still to be run. asked: how often
    that was asked. progress: what came with each outcome. shown: what was written before.
    """

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.settlements: list[Settlement] = []
        self.finished: list[Outcome] = []
        self.progress: list[Progress | None] = []
        self.shown: list[Progress] = []
        self.released: list[Claimed] = []
        self.suspected: list[bool] = []
        self.unheard: list[bool] = []
        self.wanted = True
        self.now: float | None = None
        self.asked = 0
        self.claiming = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    def server_now(self) -> float | None:
        return self.now

    async def claim(
        self, message: TaskMessage, *, suspect: bool = False, unheard: bool = False
    ) -> Claim:
        self.unheard.append(unheard)
        self.suspected.append(suspect)
        self.claiming.set()
        await self.answers.wait()
        if self.claims:
            return self.claims.pop(0)
        attempt = Attempt(message.uid, 0, 1, NOW, ME)
        return Claimed(attempt, announced=True, path=Path.CAREFUL)

    async def is_wanted(self, _message: TaskMessage, _attempt: Attempt) -> bool:
        self.asked += 1
        return self.wanted

    async def show(
        self, _message: TaskMessage, _attempt: Attempt, progress: Progress
    ) -> WriteAnswer | None:
        self.shown.append(progress)
        return Written()

    def release(self, claimed: Claimed) -> None:
        self.released.append(claimed)

    async def finish(
        self,
        _message: TaskMessage,
        _attempt: Attempt,
        outcome: Outcome,
        _seconds: float,
        progress: Progress | None,
    ) -> Settlement:
        self.finished.append(outcome)
        self.progress.append(progress)
        if self.settlements:
            return self.settlements.pop(0)
        return DeadLetter(outcome) if isinstance(outcome, Failure) else Acknowledge()


class FakePayloads:
    """Fills messages as told: with a payload, or with why there is none.

    found: instead of the body. go: what a fill waits for.
    """

    def __init__(self) -> None:
        self.found: bytes | Failure | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def fill(self, message: TaskMessage) -> TaskMessage:
        await self.go.wait()
        if isinstance(self.found, Failure):
            return replace(message, bad=self.found)
        return message if self.found is None else replace(message, payload=self.found)


class FakeRunner(OneByOne):
    """Holds jobs until they are let go."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.go = asyncio.Event()
        self.started = asyncio.Event()
        self.outcome: Outcome = Success(None)

    async def run(self, job: Job) -> Outcome:
        self.jobs.append(job)
        self.started.set()
        await self.go.wait()
        return self.outcome

    async def prepare(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class FakeToken(Token):
    """A token of a FakeTokens. lost: with its connection."""

    def __init__(self, tokens: "FakeTokens", queue: str) -> None:
        self.tokens = tokens
        self.queue = queue
        self.lost = False

    @property
    def is_held(self) -> bool:
        return not self.lost

    def give_back(self) -> None:
        if not self.lost:
            self.tokens.put(self.queue)
            self.tokens.told.append(f"back {self.queue}")
            self.tokens.returned.set()

    def spend(self) -> None:
        self.tokens.told.append(f"spent {self.queue}")


class FakeTokens:
    """Queues of tokens. free: how many are to be had. told: what was done, in order.

    A pause of the poller ends when a token is put, or is `wake`d.
    """

    def __init__(self, **free: int) -> None:
        self.free = dict(free)
        self.told: list[str] = []
        self.taken: list[FakeToken] = []
        self.pauses: list[float] = []
        self.errors: list[BrokerError] = []
        self._wake = asyncio.Event()
        self.pausing = asyncio.Event()
        self.returned = asyncio.Event()

    def put(self, queue: str) -> None:
        """Let there be one more."""
        self.free[queue] += 1
        self.wake()

    def wake(self) -> None:
        """End the poller's pause."""
        self._wake.set()
        self._wake = asyncio.Event()

    async def take(self, queue: str) -> Token | None:
        if self.errors:
            raise self.errors.pop(0)
        if not self.free[queue]:
            return None
        self.free[queue] -= 1
        self.told.append(f"took {queue}")
        self.taken.append(FakeToken(self, queue))
        return self.taken[-1]

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.pausing.set()
        await self._wake.wait()

    async def paused(self) -> None:
        """Wait until the poller pauses anew."""
        self.pausing.clear()
        async with asyncio.timeout(5):
            await self.pausing.wait()


class Bench:
    """A worker between fakes.

    retry: the TaskQueue's policy. attempts: instead of the fake ones. random: for jitter.
    slots: how many handlers run at once. tokens: of the limits `rate` and `running`, for each of
    which there are any.
    """

    def __init__(
        self,
        retry: RetryPolicy = ONCE,
        attempts: Attempts | None = None,
        random: Callable[[], float] = lambda: 0.5,
        slots: int = 1,
        tokens: FakeTokens | None = None,
    ) -> None:
        self.tokens = tokens or FakeTokens()
        limited = {queue: queue for queue in self.tokens.free}
        limits = Limits(self.tokens.take, **limited, sleep=self.tokens.sleep)
        self.broker, self.attempts, self.runner = FakeBroker(), FakeAttempts(), FakeRunner()
        self.payloads = FakePayloads()
        place = Place("c", "ns", "q", slots=slots, timeout=9, retry=retry)
        self.worker = Worker(
            place,
            cast(Broker, self.broker),
            attempts or cast(Attempts, self.attempts),
            cast(Payloads, self.payloads),
            limits,
            self.runner,
            frozenset({"echo"}),
            random,
        )

    def deliver(self, number: int, *, session: int = 1, **changes: Any) -> None:
        """Let a Task's first message come, with these changes."""
        headers = TaskHeaders("c", "ns", "t", NOW, 0, 1, 1, timedelta(seconds=5)).to_amqp()
        fields: dict[str, Any] = {
            "tag": Tag(session, number),
            "redelivered": False,
            "message_id": "uid-1",
            "type": "echo",
            "headers": headers,
            "body": b"{}",
            "properties": None,
        }
        self.worker.deliver(Delivery(**fields | changes))

    def connect_again(self) -> None:
        """Lose the first connection, with what it had brought, and have a second one."""
        self.broker.session = 2
        self.worker.lost(1)

    async def settled(self) -> None:
        """Wait for the next acknowledgement or return."""
        self.broker.changed.clear()
        async with asyncio.timeout(5):
            await self.broker.changed.wait()

    @property
    def published(self) -> list[tuple[str, str, str, str]]:
        """Exchange, key, message id and error type of each publication."""
        return [(item.exchange, item.key, item.uid, item.error) for item in self.broker.published]
