"""One operator at a time leads, and knows until when."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskqueue_operator.domain.leadership import DEADLINE_SECONDS, LEASE_SECONDS, Identity
from taskqueue_operator.errors import LeaseLostError
from taskqueue_operator.services.lease import Lease, LeaseName
from tests.operator.clock import JumpingLoop
from tests.operator.leases import LeaseClient, LeaseServer, Trip

PLACE = LeaseName("system", "operator")


class Operator:
    """A contender. skew: how far its monotonic clock is from the others'."""

    def __init__(
        self, server: LeaseServer, name: str, *, skew: float = 0.0, deadline: float | None = None
    ) -> None:
        self.client = LeaseClient(server)
        loop = asyncio.get_running_loop()
        self.stop = asyncio.Event()
        self.lease = Lease(
            self.client,
            PLACE,
            Identity(f"{name}_uid", "nonce"),
            clock=lambda: loop.time() + skew,
            deadline=DEADLINE_SECONDS if deadline is None else deadline,
        )
        self.keeping: asyncio.Task[None] | None = None

    async def acquire(self, seconds: float = 60.0) -> float:
        """Return after how many seconds it led. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.timeout(seconds):
            assert await self.lease.acquire(self.stop)
        self.keeping = asyncio.create_task(self.lease.keep())
        return loop.time() - begun

    async def pause(self) -> None:
        """Let it renew no more, as if it were stopped."""
        assert self.keeping
        self.keeping.cancel()
        await asyncio.wait([self.keeping])


@pytest.fixture
def server() -> LeaseServer:
    return LeaseServer()


@pytest.fixture
async def leader(server: LeaseServer) -> Operator:
    leader = Operator(server, "first")
    await leader.acquire()
    return leader


async def test_a_lease_that_is_not_there_is_taken_after_a_wait(server: LeaseServer) -> None:
    """Somebody may have deleted it while another leads."""
    assert await Operator(server, "first").acquire() == LEASE_SECONDS
    assert server.holder == "first_uid_nonce"
    assert server.body
    assert server.body["spec"]["leaseDurationSeconds"] == 10
    assert server.body["spec"]["leaseTransitions"] == 1


async def test_a_held_lease_is_not_taken(server: LeaseServer, leader: Operator) -> None:
    with pytest.raises(TimeoutError):
        await Operator(server, "second").acquire(seconds=300)
    assert leader.lease.leads()


async def test_a_lease_that_is_not_renewed_is_taken_in_time(
    server: LeaseServer, leader: Operator
) -> None:
    second = Operator(server, "second", skew=-500.0)
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(30)
    await leader.pause()
    begun = asyncio.get_running_loop().time()
    await waiting
    took = asyncio.get_running_loop().time() - begun
    assert DEADLINE_SECONDS <= took <= 12, "15 s, less what it takes to start publishing"
    assert not leader.lease.leads()


async def test_a_standby_ends_when_it_is_told_to(server: LeaseServer, leader: Operator) -> None:
    second = Operator(server, "second")
    waiting = asyncio.create_task(second.lease.acquire(second.stop))
    await asyncio.sleep(3)
    second.stop.set()
    assert await waiting is False
    await second.lease.release()
    assert server.holder == "first_uid_nonce"
    assert leader.lease.leads()


async def test_a_released_lease_is_taken_at_once(server: LeaseServer, leader: Operator) -> None:
    second = Operator(server, "second")
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(5)
    await leader.pause()
    await leader.lease.release()
    assert not leader.lease.leads()
    begun = asyncio.get_running_loop().time()
    await waiting
    assert asyncio.get_running_loop().time() - begun <= 1


async def test_the_next_process_of_a_pod_need_not_wait(
    server: LeaseServer, leader: Operator
) -> None:
    await leader.pause()
    again = Operator(server, "first")
    again.lease = Lease(again.client, PLACE, Identity("first_uid", "other nonce"))
    assert await again.acquire() == 0.0


async def test_somebody_else_s_label_is_no_loss(server: LeaseServer, leader: Operator) -> None:
    for _ in range(5):
        await asyncio.sleep(2)
        server.touch()
    await asyncio.sleep(10)
    assert leader.lease.leads()


async def test_a_renewal_whose_answer_was_lost_is_no_loss(
    server: LeaseServer, leader: Operator
) -> None:
    leader.client.trips = [Trip(lost=True), Trip(lost=True)]
    await asyncio.sleep(20)
    assert leader.lease.leads()
    assert server.holder == "first_uid_nonce"


@pytest.mark.parametrize("how", ["taken", "deleted"])
async def test_another_s_lease_ends_the_keeping(
    server: LeaseServer, leader: Operator, how: str
) -> None:
    assert server.body
    assert leader.keeping
    server.body["spec"]["holderIdentity"] = "second"
    server.body["metadata"]["resourceVersion"] = "99"
    if how == "deleted":
        server.body = None
    words = {"taken": "'second' holds it", "deleted": "it was deleted"}
    with pytest.raises(LeaseLostError, match=words[how]):
        await leader.keeping
    assert not leader.lease.leads()


async def test_without_the_api_server_it_leads_until_the_deadline_and_no_longer(
    leader: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await asyncio.sleep(19.5)
    last = asyncio.get_running_loop().time() - 1.5
    leader.client.down = True
    await asyncio.sleep(last + DEADLINE_SECONDS - 0.01 - asyncio.get_running_loop().time())
    assert leader.lease.leads()
    await asyncio.sleep(0.01)
    assert not leader.lease.leads()
    await asyncio.sleep(60)
    assert not leader.lease.leads()
    assert "publishing nothing: the Lease is not renewed" in caplog.text
    assert leader.lease.faults() == ["the Lease cannot be used: the API server cannot be reached"]


async def test_it_goes_on_when_nobody_had_the_lease_meanwhile(leader: Operator) -> None:
    leader.client.down = True
    await asyncio.sleep(60)
    leader.client.down = False
    await asyncio.sleep(3)
    assert leader.lease.leads()
    assert leader.lease.faults() == []
    assert leader.keeping
    assert not leader.keeping.done()


async def test_a_renewal_that_is_answered_late_counts_from_when_it_was_sent(
    leader: Operator,
) -> None:
    sent = asyncio.get_running_loop().time() + 2
    leader.client.trips = [Trip(there=1.0, back=1.5)]
    await asyncio.sleep(5)
    leader.client.down = True
    await asyncio.sleep(sent + DEADLINE_SECONDS - asyncio.get_running_loop().time())
    assert not leader.lease.leads()


async def test_the_log_says_who_leads(
    server: LeaseServer, leader: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    second = Operator(server, "second")
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(20)
    await leader.pause()
    await waiting
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "standing by: 'first_uid_nonce' holds it",
        "taking the Lease: 'first_uid_nonce' has not renewed it for 10 s",
        "leading as 'second_uid_nonce'",
    ]


async def test_a_standby_that_cannot_read_the_lease_says_so(server: LeaseServer) -> None:
    second = Operator(server, "second")
    second.client.down = True
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(3)
    assert second.lease.faults() == ["the Lease cannot be used: the API server cannot be reached"]
    second.client.down = False
    await asyncio.sleep(3)
    assert second.lease.faults() == []
    await waiting


# Two at once, in every order that Hypothesis thinks of

SECONDS = st.sampled_from([0.0, 0.1, 1.0, 2.5, 4.0, 9.0, 15.0])
TRIPS = st.lists(st.builds(Trip, SECONDS, SECONDS, st.booleans()), max_size=12)


async def contend(
    trips: list[list[Trip]], ends: list[float | None], deadline: float, seconds: float = 90.0
) -> int:
    """Let two contend; return in how many moments both led.

    trips: how the requests of each fare. ends: when each is told to stop; None: never.
    """
    server = LeaseServer()
    loop = asyncio.get_running_loop()
    both = 0
    contenders = [
        Operator(server, name, skew=skew, deadline=deadline)
        for name, skew in (("first", 0.0), ("second", 12345.0))
    ]

    def look() -> None:
        nonlocal both
        both += all(one.lease.leads() for one in contenders)

    async def live(one: Operator, begin: list[Trip], end: float | None) -> None:
        one.client.trips = begin
        if end is not None:
            loop.call_later(end, one.stop.set)
        if not await one.lease.acquire(one.stop):
            return
        one.keeping = asyncio.create_task(one.lease.keep())
        stopping = asyncio.create_task(one.stop.wait())
        await asyncio.wait([one.keeping, stopping], return_when=asyncio.FIRST_COMPLETED)
        if one.keeping.done():
            one.keeping.exception()
        one.keeping.cancel()
        stopping.cancel()
        await one.lease.release()

    server.on_write = look
    lives = [asyncio.create_task(live(*each)) for each in zip(contenders, trips, ends, strict=True)]
    for _ in range(int(seconds * 4)):
        await asyncio.sleep(0.25)
        look()
    for task in [one.keeping for one in contenders if one.keeping] + lives:
        task.cancel()
    await asyncio.sleep(0.1)
    return both


def run_on_fake_time(work: Coroutine[Any, Any, int]) -> int:
    """Return what a coroutine returns on a loop of its own whose time jumps."""
    loop = JumpingLoop()
    # What nobody waits for any more may fail unheard.
    loop.set_exception_handler(lambda *_: None)
    try:
        return loop.run_until_complete(work)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@settings(max_examples=150, deadline=None)
@given(first=TRIPS, second=TRIPS, end=st.sampled_from([None, 12.0, 20.0, 31.0]))
def test_two_never_lead_at_once(first: list[Trip], second: list[Trip], end: float | None) -> None:
    assert run_on_fake_time(contend([first, second], [end, None], DEADLINE_SECONDS)) == 0


def test_a_deadline_beyond_the_lease_would_be_found() -> None:
    """What the test above is worth: the first one's way is cut, and the second takes over."""
    first = [Trip()] * 20 + [Trip(there=15.0, lost=True)] * 20
    assert run_on_fake_time(contend([first, []], [None, None], deadline=30.0)) > 0
    assert run_on_fake_time(contend([first, []], [None, None], deadline=7.0)) == 0
