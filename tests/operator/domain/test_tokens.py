"""The tokens of limits, as queues in RabbitMQ, and who takes from them."""

from typing import Any

import pytest

from taskqueue_operator.domain.tokens import Tokens, build_tokens, read_tokens
from taskqueue_operator.domain.workers import build_deployment
from tests.operator.builders import DEFAULTS, KEY, OWNER, build_spec

RUNNING = "tql.shop.emails.running.5"
RATE = "tql.shop.emails.rate.100.60000"
COOLING = f"{RATE}.cooling"
BOTH: dict[str, Any] = {"maxRunning": 5, "rateLimit": {"tasks": 100, "per": "1m"}}


def build(version: tuple[int, int] = (4, 0), **workers: Any) -> tuple[Tokens, ...]:
    return build_tokens(*KEY, build_spec(**workers).workers, version)


def test_there_are_as_many_tokens_as_the_limits_say() -> None:
    assert {one.queue.name: one.count for one in build(**BOTH)} == {RUNNING: 5, RATE: 100}
    assert build() == ()


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (4, 0)], ids=str)
def test_a_token_is_neither_dropped_for_being_given_back_nor_while_its_handler_runs(
    version: tuple[int, int],
) -> None:
    for tokens in build(version, **BOTH):
        arguments = tokens.queue.arguments
        assert arguments["x-queue-type"] == "quorum"
        assert arguments.get("x-delivery-limit") == (-1 if version >= (4, 0) else None)
        patience = 88_200_000 if version >= (3, 12) else None
        assert arguments.get("x-consumer-timeout") == patience


def test_a_spent_token_comes_back_after_its_time_and_none_is_lost_on_the_way() -> None:
    (tokens,) = build(rateLimit={"tasks": 9, "per": "1m"})
    assert tokens.cooling is not None
    there, back = tokens.queue.arguments, tokens.cooling.arguments
    for arguments, target in ((there, tokens.cooling.name), (back, tokens.queue.name)):
        assert arguments["x-queue-type"] == "quorum"
        assert arguments["x-dead-letter-exchange"] == ""
        assert arguments["x-dead-letter-routing-key"] == target
        assert arguments["x-dead-letter-strategy"] == "at-least-once"
        assert arguments["x-overflow"] == "reject-publish"
    # Never sooner: a handler begins a little later than its token was spent.
    assert back["x-message-ttl"] == 60_100
    assert "x-message-ttl" not in there


def test_those_of_max_running_come_back_by_themselves() -> None:
    (tokens,) = build(maxRunning=5)
    assert tokens.cooling is None
    assert "x-dead-letter-exchange" not in tokens.queue.arguments


def variables(**workers: Any) -> dict[str, str]:
    """Return what the workers' environment says of limits."""
    deployment = build_deployment(OWNER, build_spec(**workers), DEFAULTS, "1", 1)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {
        one["name"]: one["value"] for one in container["env"] if one["name"].endswith("_TOKENS")
    }


def test_workers_are_told_of_the_limits_that_there_are() -> None:
    assert variables() == {}
    assert variables(maxRunning=5) == {"TASKQUEUE_RUNNING_TOKENS": RUNNING}
    assert variables(**BOTH) == {
        "TASKQUEUE_RUNNING_TOKENS": RUNNING,
        "TASKQUEUE_RATE_TOKENS": RATE,
    }


def test_a_deployment_tells_whose_tokens_its_pods_take() -> None:
    both = build_deployment(OWNER, build_spec(**BOTH), DEFAULTS, "1", 1)
    assert read_tokens(both) == {RUNNING, RATE}
    assert read_tokens(build_deployment(OWNER, build_spec(), DEFAULTS, "1", 1)) == set()
