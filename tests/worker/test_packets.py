"""Jobs on their way to a slot: read once, or taken back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskqueue_worker.packets import PacketReader, Packets

MIB = 1024 * 1024


@pytest.fixture
def packets() -> Iterator[Packets]:
    packets = Packets()
    yield packets
    packets.close()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, id="nothing"),
        pytest.param(64 * 1024, id="the most within"),
        pytest.param(64 * 1024 + 1, id="the least beside"),
        pytest.param(32 * MIB, id="large"),
    ],
)
def test_a_job_arrives_as_it_was_sent(packets: Packets, size: int) -> None:
    body = os.urandom(size // 2) + b"\n" * (size - size // 2)
    reader, before = PacketReader(packets.theirs), descriptors()
    packets.send(10**20, {"handler": "a\n\u00e4"}, body)
    assert reader.read() == (10**20, {"handler": "a\n\u00e4"}, body)
    assert descriptors() == before


def test_they_are_read_in_order_and_what_is_taken_back_is_not(packets: Packets) -> None:
    reader, before = PacketReader(packets.theirs), descriptors()
    for number in range(10**20, 10**20 + 3):
        packets.send(number, {}, b"x" * (number - 10**20) * 64 * 1024)
    assert reader.read() == (10**20, {}, b"")
    assert packets.take_back() == [10**20 + 1, 10**20 + 2]
    assert packets.take_back() == []
    assert descriptors() == before
    packets.send(3, {}, b"")
    assert reader.read() == (3, {}, b"")


def test_the_slot_ends_when_the_worker_has_gone(packets: Packets) -> None:
    reader = PacketReader(packets.theirs)
    packets._ours.close()
    assert reader.read() is None


def test_what_a_slot_does_not_read_is_refused_and_not_waited_for(packets: Packets) -> None:
    def fill() -> None:
        for number in range(10):
            packets.send(number, {}, b"x" * 64 * 1024)

    with pytest.raises(BlockingIOError):
        fill()
    assert packets.take_back()[:2] == [0, 1]


def test_a_slot_that_has_gone_is_no_surprise(packets: Packets) -> None:
    packets.theirs.close()
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        packets.send(1, {}, b"")
