"""A handler gets one token of each limit, in turn, and they go back whatever comes of it."""

import asyncio

import pytest

from taskqueue_worker.errors import BrokerError
from taskqueue_worker.limits import FAULT_SECONDS, FIRST_SECONDS, MAX_SECONDS, Limits
from tests.worker.bench import FakeTokens


def always() -> bool:
    return True


def limits_of(tokens: FakeTokens) -> Limits:
    return Limits(tokens.take, **{queue: queue for queue in tokens.free}, sleep=tokens.sleep)


async def test_without_limits_nothing_is_asked_and_nothing_waited_for() -> None:
    tokens = FakeTokens()
    limits = limits_of(tokens)
    asking = limits.permit(always)
    with pytest.raises(StopIteration) as caught:
        asking.send(None)  # it never gives way to others
    await limits.start(caught.value.value)
    assert (tokens.told, tokens.pauses) == ([], [])


async def test_a_start_spends_the_rate_and_the_end_gives_back_the_other() -> None:
    tokens = FakeTokens(rate=1, running=1)
    limits = limits_of(tokens)
    permit = await limits.permit(always)
    assert permit is not None
    await limits.start(permit)
    assert tokens.told == ["took rate", "took running", "spent rate"]
    permit.give_back()
    permit.give_back()
    assert tokens.told[3:] == ["back running"]


async def test_what_is_not_started_gives_both_back() -> None:
    tokens = FakeTokens(rate=1, running=1)
    permit = await limits_of(tokens).permit(always)
    assert permit is not None
    permit.give_back()
    assert tokens.free == {"rate": 1, "running": 1}


async def test_one_asks_for_all_ever_more_seldom_and_they_get_theirs_in_turn() -> None:
    tokens = FakeTokens(running=0)
    limits = limits_of(tokens)
    got: list[str] = []

    async def wait(name: str) -> None:
        await limits.permit(always)
        got.append(name)

    waiting = [asyncio.create_task(wait(name)) for name in ("first", "second")]
    for _ in range(6):
        await tokens.paused()
        tokens.wake()
    # Had both asked, there were twice as many pauses of each length.
    assert tokens.pauses[:2] == [FIRST_SECONDS, pytest.approx(FIRST_SECONDS * 1.5)]
    assert tokens.pauses[5] == MAX_SECONDS
    tokens.put("running")
    await waiting[0]
    assert got == ["first"]
    tokens.put("running")
    await waiting[1]
    assert got == ["first", "second"]


@pytest.mark.parametrize(
    ("free", "told"),
    [
        pytest.param({"rate": 0, "running": 1}, [], id="for the first"),
        pytest.param({"rate": 1, "running": 0}, ["took rate", "back rate"], id="for the second"),
    ],
)
async def test_who_is_not_wanted_any_more_has_no_token(
    free: dict[str, int], told: list[str]
) -> None:
    tokens, wanted = FakeTokens(**free), [True]
    waiting = asyncio.create_task(limits_of(tokens).permit(lambda: bool(wanted)))
    await tokens.paused()
    wanted.clear()
    tokens.wake()
    assert await waiting is None
    assert tokens.told == told
    assert tokens.free == free


async def test_a_token_that_comes_too_late_is_given_back() -> None:
    tokens, wanted = FakeTokens(running=1), [True]

    async def take(queue: str) -> object:
        wanted.clear()
        return await tokens.take(queue)

    limits = Limits(take, running="running")  # type: ignore[arg-type]
    assert await limits.permit(lambda: bool(wanted)) is None
    assert tokens.free == {"running": 1}


async def test_tokens_that_were_lost_while_others_were_waited_for_are_taken_anew() -> None:
    tokens = FakeTokens(rate=2, running=0)
    waiting = asyncio.create_task(limits_of(tokens).permit(always))
    await tokens.paused()
    tokens.taken[0].lost = True
    tokens.put("running")
    permit = await waiting
    assert permit is not None
    assert permit.is_held
    assert tokens.told[:2] == ["took rate", "took running"]
    assert (tokens.free["rate"], len(tokens.taken)) == (0, 4)


async def test_no_handler_starts_by_tokens_that_were_lost_meanwhile() -> None:
    tokens = FakeTokens(rate=1, running=2)
    limits = limits_of(tokens)
    permit = await limits.permit(always)
    assert permit is not None
    tokens.taken[0].lost = True
    starting = asyncio.create_task(limits.start(permit))
    await tokens.paused()
    assert not starting.done()
    tokens.put("rate")
    await starting
    assert tokens.told[-1] == "spent rate"
    assert tokens.free == {"rate": 0, "running": 1}


async def test_a_queue_that_is_missing_is_told_once_and_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokens = FakeTokens(running=1)
    tokens.errors = [BrokerError("NOT_FOUND - no queue"), BrokerError("NOT_FOUND - no queue")]
    waiting = asyncio.create_task(limits_of(tokens).permit(always))
    for _ in range(2):
        await tokens.paused()
        tokens.wake()
    assert await waiting is not None
    assert tokens.pauses == [FAULT_SECONDS, FAULT_SECONDS]
    assert [record.message for record in caplog.records] == [
        "no token can be taken: NOT_FOUND - no queue; trying again"
    ]
