"""Which shard a TaskQueue belongs to: one, for ever the same, and as even as can be."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_api.names import QUEUE_LABEL
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.sharding import (
    SHARDS_MOST,
    WHOLE,
    Shard,
    find_queue,
    find_shard,
    parse_shard,
)

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40)
COUNTS = st.integers(1, SHARDS_MOST)


def shards(count: int) -> list[Shard]:
    """Return all shards of a division."""
    return [Shard(number, count) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("namespace", "name", "numbers"),
    [
        ("shop", "emails", (1, 1, 3, 3, 10, 61)),
        ("shop", "images", (1, 2, 2, 2, 2, 69)),
        ("mail", "emails", (1, 2, 2, 2, 2, 2)),
        ("default", "a", (1, 1, 1, 1, 8, 65)),
        ("team-7", "nightly-reports", (1, 1, 1, 1, 7, 15)),
    ],
)
def test_the_numbers_never_change(namespace: str, name: str, numbers: tuple[int, ...]) -> None:
    """Operators of two versions would else both serve a queue, or neither."""
    assert tuple(find_shard(namespace, name, count) for count in (1, 2, 3, 4, 10, 99)) == numbers


@given(namespace=NAMES, name=NAMES, count=COUNTS)
def test_each_taskqueue_is_in_exactly_one_shard(namespace: str, name: str, count: int) -> None:
    queue = QueueKey(namespace, name)
    assert [one.serves(queue) for one in shards(count)].count(True) == 1


@pytest.mark.parametrize("count", [2, 3, 7, 10])
@pytest.mark.parametrize("namespaces", [1, 50])
def test_the_spread_is_even(count: int, namespaces: int) -> None:
    found = Counter(
        find_shard(f"team-{number % namespaces}", f"queue-{number}", count)
        for number in range(1000 * count)
    )
    assert set(found) == set(range(1, count + 1))
    # Four standard deviations of what chance does to a thousand.
    assert all(abs(each - 1000) < 130 for each in found.values()), found


@given(namespace=NAMES, name=NAMES, before=COUNTS, more=COUNTS)
def test_with_more_shards_a_taskqueue_stays_or_goes_to_a_new_one(
    namespace: str, name: str, before: int, more: int
) -> None:
    after = min(before + more, SHARDS_MOST)
    now = find_shard(namespace, name, after)
    assert now == find_shard(namespace, name, before) or now > before


@given(namespace=NAMES, name=NAMES, before=COUNTS, more=COUNTS, changed=st.sets(COUNTS))
def test_while_the_number_changes_no_two_serve_a_taskqueue(
    namespace: str, name: str, before: int, more: int, changed: set[int]
) -> None:
    """As docs/sharding.md says it: those that stay are changed in any order, others are off."""
    after = min(before + more, SHARDS_MOST)
    running = [
        Shard(number, after if number in changed else before) for number in range(1, before + 1)
    ]
    serving = [one for one in running if one.serves(QueueKey(namespace, name))]
    assert len(serving) <= 1


def test_the_whole_serves_everything() -> None:
    assert WHOLE.is_whole
    assert not Shard(1, 2).is_whole
    assert all(WHOLE.serves(QueueKey("shop", f"queue-{number}")) for number in range(100))


@pytest.mark.parametrize("text", ["1/1", "1/2", "2/2", "10/12", "99/99"])
def test_a_shard_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_shard(text)) == text


@pytest.mark.parametrize(
    "text",
    ["0/3", "4/3", "-1/3", "1", "/", "1/", "/2", "1/100", "01/3", "1/ 3", "1/3\n", "a/b", "1/३"],
)
def test_what_is_no_shard_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="must be i/n with i from 1 to n, and n at most 99"):
        parse_shard(text)


def test_each_shard_has_a_lease_of_its_own() -> None:
    assert WHOLE.lease_name("op") == "op"
    assert Shard(2, 4).lease_name("op") == "op-shard-2-of-4"
    names = {one.lease_name("op") for count in (1, 2, 3, 11) for one in shards(count)}
    assert len(names) == 1 + 2 + 3 + 11


@pytest.mark.parametrize(
    ("plural", "body"),
    [
        pytest.param("taskqueues", {"metadata": {"name": "emails"}}, id="a TaskQueue"),
        pytest.param(
            "tasks",
            {"metadata": {"name": "welcome"}, "spec": {"queue": "emails"}},
            id="a Task, there being such a TaskQueue or not",
        ),
        pytest.param(
            "deployments",
            {"metadata": {"name": "tq-emails", "labels": {QUEUE_LABEL: "emails"}}},
            id="what a TaskQueue owns",
        ),
    ],
)
def test_an_object_belongs_to_the_shard_of_its_taskqueue(plural: str, body: dict[str, Any]) -> None:
    body["metadata"]["namespace"] = "shop"
    assert find_queue(plural, body) == QueueKey("shop", "emails")
    mine = [one for one in shards(5) if one.concerns(plural, body)]
    assert mine == [Shard(find_shard("shop", "emails", 5), 5)]


@pytest.mark.parametrize(
    ("plural", "body"),
    [
        pytest.param("tasks", {"metadata": {"resourceVersion": "9"}}, id="a bookmark"),
        pytest.param(
            "poddisruptionbudgets", {"metadata": {"name": "a", "namespace": "b"}}, id="a stranger"
        ),
    ],
)
def test_what_tells_of_no_taskqueue_is_let_through(plural: str, body: dict[str, Any]) -> None:
    assert all(one.concerns(plural, body) for one in shards(5))
