"""A message may hold anything, and does no harm to the worker that gets it."""

import math
import struct
from typing import Any

import pika
import pytest

from taskqueue_worker.deliveries import Delivery, OutsideMessage, read_message
from taskqueue_worker.lenient import allow_odd_headers
from taskqueue_worker.outcomes import failure
from taskqueue_worker.session import Session
from taskqueue_worker.settle import dead_letter_headers
from tests.worker.bench import NOW


def field(name: bytes, tag: bytes, value: bytes) -> bytes:
    """Return one entry of a header table as AMQP writes it."""
    return bytes([len(name)]) + name + tag + value


def table(*fields: bytes) -> bytes:
    """Return a header table."""
    content = b"".join(fields)
    return struct.pack(">I", len(content)) + content


GOOD = field(b"good", b"I", struct.pack(">i", 7))


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        pytest.param(b"d", struct.pack(">d", math.nan), id="NaN"),
        pytest.param(b"f", struct.pack(">f", math.inf), id="infinity"),
        pytest.param(b"T", struct.pack(">Q", 1_700_000_000_000), id="a time in milliseconds"),
        pytest.param(b"T", struct.pack(">Q", 2**63), id="a time beyond all"),
    ],
)
@pytest.mark.parametrize("nested", [False, True], ids=["alone", "nested"])
def test_a_header_that_python_cannot_hold_is_empty_and_the_others_are_read(
    monkeypatch: pytest.MonkeyPatch, tag: bytes, value: bytes, nested: bool
) -> None:
    monkeypatch.setattr(pika.data, "decode_value", pika.data.decode_value)  # put back at the end
    allow_odd_headers()
    odd = field(b"odd", tag, value)
    encoded = table(field(b"more", b"F", table(odd)), GOOD) if nested else table(odd, GOOD)
    expected = {"more": {"odd": None}} if nested else {"odd": None}
    assert pika.data.decode_table(encoded, 0) == ({**expected, "good": 7}, len(encoded))


async def test_what_is_not_utf_8_is_text_all_the_same() -> None:
    got: list[Delivery] = []
    headers, _ = pika.data.decode_table(table(field(b"\xffx", b"I", b"\0\0\0\1"), GOOD), 0)
    properties: Any = pika.BasicProperties()
    # As pika gives them.
    properties.type, properties.message_id = b"gr\xfc\xdfe", b"\xff"
    properties.headers = headers
    channel: Any = None
    Session(1, got.append)._on_message(channel, pika.spec.Basic.Deliver("c", 1), properties, b"{}")
    (delivery,) = got
    assert (delivery.type, delivery.message_id) == ("gr\ufffd\ufffde", "\ufffd")
    assert isinstance(read_message(delivery, cluster="c", namespace="ns"), OutsideMessage)
    assert dead_letter_headers(delivery.headers, failure("E", "m"), "tq.ns.q", NOW)
