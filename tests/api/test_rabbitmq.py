"""What differs between versions of RabbitMQ."""

from collections.abc import Mapping
from typing import Any

import pytest

from taskqueue_api.rabbitmq import (
    Version,
    delayed_priority,
    has_delivery_limit,
    knows_consumer_timeout,
    priority_levels,
    read_version,
)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param((3, 13), [None, 0, 4, 5, 9, 255], id="3.13 knows no high ones"),
        pytest.param((4, 0), [None, 0, 4, 4, 4, 4], id="4.0"),
        pytest.param((4, 1), [None, 0, 4, 4, 4, 4], id="4.1"),
        pytest.param((4, 2), [None, 0, 4, 4, 4, 4], id="4.2"),
        pytest.param((4, 3), [None, 0, 4, 5, 9, 255], id="4.3 expires them all"),
        pytest.param((5, 0), [None, 0, 4, 5, 9, 255], id="5.0"),
        pytest.param((0, 0), [None, 0, 4, 5, 9, 255], id="unknown"),
    ],
)
def test_only_versions_that_expire_at_one_head_lower_the_priority(
    version: Version, expected: list[int | None]
) -> None:
    priorities = [None, 0, 4, 5, 9, 255]
    assert [delayed_priority(priority, version) for priority in priorities] == expected


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param({"version": "3.13.7"}, (3, 13), id="3.13"),
        pytest.param({"version": "4.0.5"}, (4, 0), id="4.0"),
        pytest.param({"version": "4.2.1"}, (4, 2), id="4.2"),
        pytest.param({"version": b"4.3.0"}, (4, 3), id="bytes"),
        pytest.param({"version": "4.3.0-rc.1"}, (4, 3), id="a candidate"),
        pytest.param({"version": "4.10"}, (4, 10), id="no patch, two digits"),
        pytest.param({"version": "4"}, (0, 0), id="major only"),
        pytest.param({"version": "next"}, (0, 0), id="words"),
        pytest.param({"version": ""}, (0, 0), id="empty"),
        pytest.param({"version": None}, (0, 0), id="null"),
        pytest.param({"product": "RabbitMQ"}, (0, 0), id="not said"),
        pytest.param({}, (0, 0), id="nothing"),
        pytest.param(None, (0, 0), id="no properties"),
    ],
)
def test_a_version_is_read_as_far_as_it_can_be(
    properties: Mapping[str, Any] | None, expected: Version
) -> None:
    assert read_version(properties) == expected


@pytest.mark.parametrize(
    ("version", "quorum", "classic"),
    [
        pytest.param((3, 10), (False, False, 1), (False, False, 10), id="3.10"),
        pytest.param((3, 12), (True, False, 1), (True, False, 10), id="3.12"),
        pytest.param((4, 0), (True, True, 2), (True, False, 10), id="4.0"),
        pytest.param((4, 2), (True, True, 2), (True, False, 10), id="4.2"),
        pytest.param((4, 3), (True, True, 10), (False, False, 10), id="4.3"),
        pytest.param((0, 0), (False, False, 1), (False, False, 10), id="unknown"),
    ],
)
def test_what_a_queue_of_a_version_can_do(
    version: Version, quorum: tuple[bool, bool, int], classic: tuple[bool, bool, int]
) -> None:
    for kind, expected in (("Quorum", quorum), ("Classic", classic)):
        found = (
            knows_consumer_timeout(kind, version),
            has_delivery_limit(kind, version),
            priority_levels(kind, version),
        )
        assert found == expected
