"""What RabbitMQ can do with priorities is said, and a way out where it cannot."""

import pytest

from taskqueue_api.rabbitmq import Version
from taskqueue_operator.domain.priorities import describe_priorities


@pytest.mark.parametrize(
    ("queue_type", "version", "expected"),
    [
        pytest.param("Quorum", (3, 10), ("False", "NotSupported"), id="3.10"),
        pytest.param("Quorum", (3, 13), ("False", "NotSupported"), id="3.13"),
        pytest.param("Quorum", (4, 0), ("False", "TwoLevels"), id="4.0"),
        pytest.param("Quorum", (4, 2), ("False", "TwoLevels"), id="4.2"),
        pytest.param("Quorum", (4, 3), ("True", "AllLevels"), id="4.3"),
        pytest.param("Quorum", (5, 0), ("True", "AllLevels"), id="5.0"),
        pytest.param("Classic", (3, 10), ("True", "AllLevels"), id="classic, 3.10"),
        pytest.param("Classic", (4, 0), ("True", "AllLevels"), id="classic, 4.0"),
        pytest.param("Quorum", (0, 0), ("Unknown", "VersionUnknown"), id="unknown"),
        pytest.param("Classic", (0, 0), ("Unknown", "VersionUnknown"), id="classic, unknown"),
    ],
)
def test_it_is_said_how_many_are_told_apart(
    queue_type: str, version: Version, expected: tuple[str, str]
) -> None:
    found = describe_priorities(queue_type, version)
    assert (found.status, found.reason) == expected
    # Whoever reads of a fault reads what to do.
    assert ("RabbitMQ 4.3 or later" in found.message) == (found.status == "False")
    if version != (0, 0):
        assert f"RabbitMQ {version[0]}.{version[1]} " in found.message
