"""Tasks that must not start before a time, or not after one."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from e2e.api import ApiError
from e2e.conftest import MakeSpace
from e2e.manifests import task
from e2e.rabbit import WORKER_CONSUMERS
from e2e.space import Space, condition_of, error_of
from e2e.test_retries import MINUTE
from taskqueue_api.conditions import parse_time, rfc3339_milli
from taskqueue_api.new_task import new_task


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace with a queue that has workers, and one that has none."""
    space = make_space()
    space.apply(space.scenario_queue("works", {"concurrency": 4}))
    space.apply(space.scenario_queue("idle", {"replicas": 0}))
    for name in ("works", "idle"):
        space.wait_queue(name)
    return space


NO_TIME = (
    "must be a time with its zone, between the years 2000 and 2200, such as "
    "'2026-12-01T06:00:00Z' or '2026-12-01T06:00:00\\+01:00', not '"
)


def ahead(seconds: float) -> str:
    """Return a time so long from now."""
    return rfc3339_milli(datetime.now(UTC) + timedelta(seconds=seconds))


def test_a_task_for_later_starts_no_earlier(shared: Space) -> None:
    moment = ahead(4)
    shared.apply(task("later", "works", "record", notBefore=moment))
    shared.apply(task("now", "works", "record"))
    shared.wait_task("now", "Succeeded")
    assert shared.get("Task", "later")["status"]["phase"] == "Pending"
    assert shared.system.rabbit.depth(shared.work_queue("works")) == (0, WORKER_CONSUMERS)
    body = shared.wait_task("later", "Succeeded")
    started = parse_time(body["status"]["startTime"])
    # That is cut off to whole seconds.
    assert started >= parse_time(moment).replace(microsecond=0)
    assert len([run for run in shared.runs() if run.name == "later"]) == 1


def test_a_program_says_how_long_from_now(shared: Space) -> None:
    delay = timedelta(seconds=3)
    begun = datetime.now(UTC)
    shared.system.api.create(
        new_task("delayed", "works", "record", namespace=shared.name, delay=delay)
    )
    body = shared.wait_task("delayed", "Succeeded")
    assert parse_time(body["status"]["startTime"]) >= (begun + delay).replace(microsecond=0)


def test_a_time_that_has_passed_holds_up_nothing(shared: Space) -> None:
    shared.apply(task("past", "works", "record", notBefore="2020-01-01T00:00:00+02:00"))
    shared.wait_task("past", "Succeeded")


def test_a_task_for_later_is_cancelled(shared: Space) -> None:
    shared.apply(task("never", "works", "record", notBefore=ahead(3600)))
    shared.wait("it is published", lambda: shared.dispatched("works") > 0)
    shared.system.api.merge("Task", shared.name, "never", {"spec": {"cancel": True}})
    shared.wait_task("never", "Cancelled")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"notBefore": ahead(80 * 86400)},
            "spec.notBefore must be at most 77 days ahead, not 20",
            id="beyond the ladder",
        ),
        pytest.param(
            {"notBefore": "2030-01-02T00:00:00Z", "deadline": "2030-01-01T00:00:00Z"},
            "deadline must be later than notBefore, '2030-01-02T00:00:00Z', not '2030-01-01T00:00",
            id="must start before it may",
        ),
        pytest.param(
            {"notBefore": "2030-01-01T06:00:00+12:00", "deadline": "2029-12-31T18:00:00Z"},
            "deadline must be later than notBefore",
            id="the same time of another zone",
        ),
        *(
            pytest.param({field: text}, f"spec.{field}: .*{NO_TIME}{re.escape(text)}'", id=text)
            for field, text in (
                ("deadline", "tomorrow"),
                ("notBefore", "2026-01-01T00:00:00"),
                ("deadline", "2026-01-01t00:00:00Z"),
                ("notBefore", "2026-01-01T00:00:00z"),
                ("deadline", "2026-02-30T00:00:00Z"),
                ("deadline", "0001-01-01T00:00:00Z"),
                ("notBefore", "9999-12-31T23:59:59Z"),
            )
        ),
        pytest.param({"deadline": 1767225600}, "deadline", id="a number"),
    ],
)
def test_times_that_cannot_be_meant_are_refused(
    shared: Space, spec: dict[str, object], message: str
) -> None:
    with pytest.raises(ApiError, match=message):
        shared.apply(task("refused", "works", "record", **spec))


def test_one_that_still_waits_at_its_deadline_has_failed(shared: Space) -> None:
    moment = ahead(2)
    shared.apply(task("late", "idle", "record", deadline=moment))
    body = shared.wait_task("late", "Failed")
    kind, message = error_of(body)
    assert kind == "DeadlineExceeded"
    assert "attempt 1 was not started before the deadline" in message
    assert condition_of(body, "Succeeded")["reason"] == "DeadlineExceeded"
    shared.wait("it is told", lambda: shared.events("DeadlineExceeded"))


def test_one_that_comes_to_a_worker_after_its_deadline_is_not_started(space: Space) -> None:
    """The worker says so before the operator does."""
    space.apply(space.scenario_queue("busy", {"concurrency": 1}, timeout="2m"))
    space.wait_queue("busy")
    space.apply(task("held", "busy", "slow", payload={"seconds": 3}))
    space.wait_task("held", "Running")
    space.apply(task("late", "busy", "record", deadline=ahead(1)))
    assert error_of(space.wait_task("late", "Failed"))[0] == "DeadlineExceeded"
    space.wait_task("held", "Succeeded")
    space.wait_depth("busy", 0)
    assert not space.runs()


def test_one_that_runs_at_its_deadline_goes_on(shared: Space) -> None:
    shared.apply(task("long", "works", "slow", payload={"seconds": 3}, deadline=ahead(1.5)))
    shared.wait_task("long", "Succeeded")


def test_another_attempt_that_would_be_too_late_is_not_made(shared: Space) -> None:
    spec = {"payload": {"failures": 1}, "retry": MINUTE, "deadline": ahead(30)}
    shared.apply(task("once", "works", "flaky", **spec))
    body = shared.wait_task("once", "Failed")
    assert error_of(body) == ("ConnectionError", "attempt 1 fails")
    assert body["status"]["attempts"] == 1
