"""What differs between versions of RabbitMQ."""

from collections.abc import Mapping
from typing import Any

import pytest

from taskqueue_api.rabbitmq import Version, delayed_priority, read_version


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
