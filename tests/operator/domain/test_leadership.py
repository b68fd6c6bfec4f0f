"""Who takes the Lease, and when."""

from typing import Any

import pytest

from taskqueue_operator.domain.leadership import (
    ABSENT,
    LEASE_SECONDS,
    Identity,
    Record,
    Sighting,
    decide_candidacy,
    note,
)

ME = Identity("op-1_uid-1", "aaaa")
OTHER = "op-2_uid-2_bbbb"
HELD = Record("7", OTHER, LEASE_SECONDS, 3)


@pytest.mark.parametrize(
    ("record", "age", "take", "reason"),
    [
        pytest.param(HELD, 0.0, False, f"'{OTHER}' holds it", id="held"),
        pytest.param(HELD, 9.9, False, f"'{OTHER}' holds it", id="held, nearly over"),
        pytest.param(HELD, 10.0, True, f"'{OTHER}' has not renewed it for 10 s", id="over"),
        pytest.param(HELD._replace(holder=""), 0.0, True, "nobody holds it", id="released"),
        pytest.param(HELD._replace(seconds=60.0), 59.0, False, f"'{OTHER}' holds it", id="longer"),
        pytest.param(HELD._replace(seconds=1.0), 5.0, False, f"'{OTHER}' holds it", id="shorter"),
        pytest.param(ABSENT, 0.0, False, "there is none", id="absent"),
        pytest.param(ABSENT, 10.0, True, "there is none", id="absent for long"),
        pytest.param(
            HELD._replace(holder="op-1_uid-1_zzzz"),
            0.0,
            True,
            "an earlier process of this pod held it",
            id="a process of this pod, which is dead",
        ),
        pytest.param(
            HELD._replace(holder="op-1_uid-9_zzzz"),
            0.0,
            False,
            "'op-1_uid-9_zzzz' holds it",
            id="another pod of that name",
        ),
    ],
)
def test_decide_candidacy(record: Record, age: float, take: bool, reason: str) -> None:
    found = decide_candidacy(Sighting(record, since=1000.0), ME, now=1000.0 + age)
    assert (found.take, found.reason) == (take, reason)
    wait = 0.0 if take else max(record.seconds, LEASE_SECONDS) - age
    assert found.wait == pytest.approx(wait)


def test_outside_of_a_cluster_no_other_process_is_ours() -> None:
    me = Identity("", "aaaa")
    assert me.is_ours("local_aaaa")
    assert not me.is_ours("local_bbbb")


def test_any_change_is_a_sign_of_life() -> None:
    seen = note(None, HELD, 1.0)
    assert note(seen, HELD, 5.0) == Sighting(HELD, 1.0)
    renewed = HELD._replace(version="8")
    assert note(seen, renewed, 5.0) == Sighting(renewed, 5.0)
    assert note(seen, ABSENT, 5.0) == Sighting(ABSENT, 5.0)


def test_a_change_counts_from_when_the_first_answer_with_it_had_come() -> None:
    assert note(None, HELD, 3.0).since == 3.0


def cases() -> list[dict[str, Any]]:
    """Return what a Lease may say that does not name this pod."""
    return [{"holder": holder, "version": "1"} for holder in (OTHER, "x", "op-1", "op-1_uid-1")]


@pytest.mark.parametrize("changes", cases(), ids=lambda one: one["holder"])
def test_a_holder_is_never_taken_for_this_pod_by_a_part_of_its_name(
    changes: dict[str, Any],
) -> None:
    found = decide_candidacy(Sighting(HELD._replace(**changes), 0.0), ME, 1.0)
    assert not found.take
