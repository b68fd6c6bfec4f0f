"""A connection comes back by itself, and says why it is not there."""

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pika
import pytest
from pika.exceptions import (
    ConnectionClosedByBroker,
    ConnectionWrongStateError,
    ProbableAuthenticationError,
    StreamLostError,
)

from taskqueue_operator.broker.link import Link
from taskqueue_operator.errors import BrokerRefusedError, BrokerUnavailableError
from tests.operator.builders import ADDRESS, build_rng
from tests.operator.clock import settle

REFUSED = StreamLostError("refused")


class FakeConnection:
    """What our code uses of pika's AsyncConnection.

    outcome: what the next ones come to: open, an error, or silence (None).
    """

    outcome: BaseException | str | None = "open"
    version: bytes | str = b"4.0.9"
    made: "list[FakeConnection]" = []  # noqa: RUF012 - reset by the fixture

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        on_open_callback: Callable[[Any], None],
        on_open_error_callback: Callable[[Any, Any], None],
        on_close_callback: Callable[[Any, Any], None],
    ) -> None:
        self.parameters = parameters
        self.moment = asyncio.get_running_loop().time()
        self.server_properties = {"version": self.version}
        self.is_closing = False
        self.is_closed = False
        self._on_close = on_close_callback
        FakeConnection.made.append(self)
        loop = asyncio.get_running_loop()
        if self.outcome == "open":
            loop.call_soon(on_open_callback, self)
        elif self.outcome is not None:
            self.is_closed = True
            loop.call_soon(on_open_error_callback, self, self.outcome)

    def channel(self, on_open_callback: Callable[[Any], None]) -> None:
        if self.is_closing or self.is_closed:
            raise ConnectionWrongStateError("Channel allocation requires an open connection")
        asyncio.get_running_loop().call_soon(on_open_callback, "channel")

    def close(self) -> None:
        self.is_closing = True

    def end(self, error: Exception) -> None:
        """End as when the broker closes it."""
        self.is_closed = True
        self._on_close(self, error)


@pytest.fixture(autouse=True)
def fake_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskqueue_operator.broker.link.AsyncConnection", FakeConnection)
    monkeypatch.setattr(FakeConnection, "outcome", "open")
    monkeypatch.setattr(FakeConnection, "made", [])


class World:
    """A link, made when it is first asked for, and what its owner heard of it."""

    def __init__(self) -> None:
        self.changes: list[str] = []

    @functools.cached_property
    def link(self) -> Link:
        """The link."""
        return self.connect()

    def connect(self, **address: Any) -> Link:
        """Return a link that hears of its changes."""
        return Link(replace(ADDRESS, **address), on_change=self.heard, rng=build_rng())

    def heard(self, link: Link) -> None:
        """Take note of a change."""
        self.changes.append(link.fault.reason if link.fault else "connected")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.link.close()


async def test_it_connects_as_the_address_says(world: World) -> None:
    await world.link.wait(5)
    parameters = FakeConnection.made[0].parameters
    assert (parameters.host, parameters.port, parameters.virtual_host) == (
        "rabbit.shop.svc",
        5672,
        "/",
    )
    assert parameters.credentials == pika.PlainCredentials("admin", "top secret")
    assert parameters.ssl_options is None
    assert world.link.version == (4, 0)
    assert world.changes == ["connected"]
    assert await world.link.open_raw_channel() == "channel"  # type: ignore[comparison-overlap]


async def test_it_connects_again_when_the_broker_went_away(world: World) -> None:
    await world.link.wait(5)
    FakeConnection.made[0].end(ConnectionClosedByBroker(320, "CONNECTION_FORCED"))
    await settle()
    assert not world.link.connected.is_set()
    with pytest.raises(BrokerUnavailableError, match="CONNECTION_FORCED"):
        await world.link.open_raw_channel()
    await asyncio.sleep(1)
    assert world.changes == ["connected", "BrokerUnreachable", "connected"]
    assert len(FakeConnection.made) == 2


async def test_it_tries_more_and_more_seldom(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeConnection, "outcome", REFUSED)
    assert world.link.fault is None
    await asyncio.sleep(300)
    moments = [connection.moment for connection in FakeConnection.made]
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    for number, gap in enumerate(gaps):
        longest = min(0.5 * 2**number, 30)
        assert longest / 2 <= gap <= longest + 0.01
    assert len(gaps) >= 14
    # The owner hears of it once.
    assert world.changes == ["BrokerUnreachable"]


async def test_after_a_connection_it_tries_quickly_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeConnection, "outcome", REFUSED)
    assert world.link.fault is None
    await asyncio.sleep(100)
    monkeypatch.setattr(FakeConnection, "outcome", "open")
    await asyncio.sleep(31)
    FakeConnection.made[-1].end(REFUSED)
    await asyncio.sleep(0.51)
    assert world.link.connected.is_set()


async def test_another_reason_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeConnection, "outcome", REFUSED)
    assert world.link.fault is None
    await asyncio.sleep(5)
    monkeypatch.setattr(FakeConnection, "outcome", ProbableAuthenticationError("no"))
    await asyncio.sleep(30)
    assert world.changes == ["BrokerUnreachable", "AuthenticationFailed"]


async def test_waiting_ends_with_the_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeConnection, "outcome", REFUSED)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(BrokerUnavailableError, match="refused"):
        await world.link.wait(5)
    assert asyncio.get_running_loop().time() - begun == pytest.approx(5, abs=0.1)


async def test_one_that_is_away_for_longer_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.link.wait(5)
    await asyncio.sleep(60)
    monkeypatch.setattr(FakeConnection, "outcome", REFUSED)
    FakeConnection.made[0].end(ConnectionClosedByBroker(320, "shutdown"))
    await settle()
    begun = asyncio.get_running_loop().time()
    for seconds in (5, 5, 5):
        with pytest.raises(BrokerUnavailableError):
            await world.link.wait(5)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(seconds, abs=0.1)


async def test_a_refusal_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeConnection, "outcome", ProbableAuthenticationError("no"))
    begun = asyncio.get_running_loop().time()
    with pytest.raises(BrokerRefusedError):
        await world.link.wait(5)
    assert asyncio.get_running_loop().time() - begun < 1


async def test_waiting_ends_as_soon_as_it_is_connected(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeConnection, "outcome", REFUSED)
    waiter = asyncio.create_task(world.link.wait(5))
    await settle()
    monkeypatch.setattr(FakeConnection, "outcome", "open")
    await waiter
    assert world.link.connected.is_set()


async def test_a_broker_that_is_silent_is_given_up_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeConnection, "outcome", None)
    with pytest.raises(BrokerUnavailableError, match="does not answer"):
        await world.link.wait(5)
    await asyncio.sleep(16)
    assert FakeConnection.made[0].is_closing
    assert world.link.fault
    await asyncio.sleep(1)
    assert len(FakeConnection.made) == 2


@pytest.mark.parametrize("state", ["is_closing", "is_closed"])
async def test_a_connection_that_is_just_ending_opens_no_channel(world: World, state: str) -> None:
    # pika knows of the end a few turns of the loop before it calls us.
    await world.link.wait(5)
    setattr(FakeConnection.made[0], state, True)
    with pytest.raises(BrokerUnavailableError):
        await world.link.open_raw_channel()
    setattr(FakeConnection.made[0], state, False)


@pytest.mark.parametrize(
    ("ca", "reason"), [("no certificate", "TlsFailed"), ("# Autorität\nno", "TlsFailed")]
)
async def test_a_ca_that_cannot_be_read_is_told(world: World, ca: str, reason: str) -> None:
    link = world.connect(tls=True, ca=ca)
    with pytest.raises(BrokerUnavailableError) as caught:
        await link.wait(5)
    assert caught.value.reason == reason
    await link.close()


async def test_tls_is_used_with_the_name_of_the_host(world: World) -> None:
    link = world.connect(tls=True)
    await link.wait(5)
    options = FakeConnection.made[-1].parameters.ssl_options
    assert options
    assert options.server_hostname == "rabbit.shop.svc"
    await link.close()


async def test_it_is_closed_for_good(world: World) -> None:
    await world.link.wait(5)
    await world.link.close()
    assert FakeConnection.made[0].is_closing
    await asyncio.sleep(100)
    assert len(FakeConnection.made) == 1


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(b"3.10.8", (3, 10), id="bytes"),
        pytest.param("4.2.0-beta.1", (4, 2), id="text"),
        pytest.param("", (0, 0), id="nothing"),
        pytest.param("unknown", (0, 0), id="no number"),
    ],
)
async def test_the_version_is_read(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    version: bytes | str,
    expected: tuple[int, int],
) -> None:
    monkeypatch.setattr(FakeConnection, "version", version)
    await world.link.wait(5)
    assert world.link.version == expected
