"""The limits of dead letters: as a policy, and as a condition."""

from typing import Any

import pytest

from taskqueue_api.dead_letters import LENGTH_MOST, DeadLetterSpec
from taskqueue_operator.domain.letter_limits import (
    build_limits,
    describe_limits,
    describe_unlimited,
)
from taskqueue_operator.domain.topology import build_topology
from taskqueue_operator.errors import (
    ManagementError,
    ManagementRefusedError,
    ManagementUnavailableError,
)
from tests.operator.builders import KEY

DEAD = "tqd.shop.emails"
AWAY = ManagementUnavailableError("cannot be reached")
REFUSED = ManagementRefusedError("not allowed")


def spec(**fields: Any) -> DeadLetterSpec:
    return DeadLetterSpec.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "definition"),
    [
        pytest.param({"maxLength": 5}, {"max-length": 5}, id="length"),
        pytest.param({"ttl": "1h30m"}, {"message-ttl": 5_400_000}, id="age"),
        pytest.param({"ttl": "1.5s"}, {"message-ttl": 1500}, id="a fraction"),
        pytest.param(
            {"maxLength": 5, "ttl": "168h"},
            {"max-length": 5, "message-ttl": 604_800_000},
            id="both",
        ),
    ],
)
def test_limits_become_an_operator_policy_of_that_queue(
    fields: dict[str, Any], definition: dict[str, int]
) -> None:
    policy = build_limits(KEY, spec(**fields))
    assert policy.name == DEAD
    assert policy.to_json() == {
        "pattern": r"^tqd\.shop\.emails$",
        "definition": definition,
        "priority": -1,
        "apply-to": "queues",
    }


@pytest.mark.parametrize("limits", [None, DeadLetterSpec()])
def test_without_limits_there_is_no_policy(limits: DeadLetterSpec | None) -> None:
    assert build_limits(KEY, limits).definition is None


def test_the_queue_itself_holds_the_most_that_may_be_asked_for() -> None:
    # RabbitMQ takes the lower one of argument and policy.
    topology = build_topology(
        namespace="shop", name="emails", queue_type="Quorum", cluster="c", version=(4, 0)
    )
    assert topology.dead_letters.name == DEAD
    assert topology.dead_letters.arguments["x-max-length"] == LENGTH_MOST


@pytest.mark.parametrize(
    ("limits", "applied", "expected"),
    [
        pytest.param(None, None, ("True", "QueueDefault"), id="none wanted"),
        pytest.param(None, "all", ("True", "QueueDefault"), id="none wanted, others apply"),
        pytest.param(spec(maxLength=5), DEAD, ("True", "LimitsSet"), id="ours applies"),
        pytest.param(spec(maxLength=5), None, ("True", "LimitsSet"), id="not said yet"),
        pytest.param(spec(maxLength=5), "all", ("False", "OtherPolicy"), id="another applies"),
    ],
)
def test_what_the_condition_says(
    limits: DeadLetterSpec | None, applied: str | None, expected: tuple[str, str]
) -> None:
    finding = describe_limits(build_limits(KEY, limits), applied)
    assert (finding.status, finding.reason) == expected


def test_limits_and_what_is_in_their_way_are_named() -> None:
    policy = build_limits(KEY, spec(maxLength=5, ttl="1m"))
    assert "max-length 5, message-ttl 60000" in describe_limits(policy, None).message
    assert "operator policy 'all'" in describe_limits(policy, "all").message


@pytest.mark.parametrize(
    ("limits", "error", "expected"),
    [
        pytest.param(None, AWAY, ("True", "QueueDefault"), id="none wanted, away"),
        pytest.param(None, REFUSED, ("True", "QueueDefault"), id="none wanted, refused"),
        pytest.param(spec(ttl="1h"), AWAY, ("False", "ManagementUnavailable"), id="away"),
        pytest.param(spec(ttl="1h"), REFUSED, ("False", "ManagementRefused"), id="refused"),
    ],
)
def test_without_a_management_api_the_condition_says_so(
    limits: DeadLetterSpec | None, error: ManagementError, expected: tuple[str, str]
) -> None:
    finding = describe_unlimited(build_limits(KEY, limits), error)
    assert (finding.status, finding.reason) == expected
    assert str(error) in finding.message
