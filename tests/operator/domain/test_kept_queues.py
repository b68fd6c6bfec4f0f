"""An Event says of a kept queue what it has, and nothing that it has not."""

import pytest

from taskqueue_operator.domain.kept_queues import describe_kept


@pytest.mark.parametrize(
    ("messages", "consumers", "what"),
    [
        (1, 0, "holds 1 message"),
        (5, 0, "holds 5 messages"),
        (0, 1, "has 1 consumer"),
        (0, 2, "has 2 consumers"),
        (1, 2, "holds 1 message and has 2 consumers"),
    ],
)
def test_a_kept_queue_says_why(messages: int, consumers: int, what: str) -> None:
    said = describe_kept("tq.shop.emails", messages, consumers)
    assert said == f"queue 'tq.shop.emails' {what}, so it was kept in RabbitMQ"
