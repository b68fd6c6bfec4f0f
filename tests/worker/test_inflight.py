"""The messages that a worker holds, over connections that come and go."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from taskqueue_api.messages import TaskHeaders, TaskUid
from taskqueue_worker.deliveries import Delivery, OutsideMessage, Tag, TaskMessage
from taskqueue_worker.inflight import Entry, Inflight, State


def delivery(tag: Tag, headers: Mapping[str, object] | None = None) -> Delivery:
    return Delivery(
        tag=tag,
        redelivered=False,
        message_id="uid",
        type="echo",
        headers=headers or {},
        body=b"",
        properties=None,
    )


def task(session: int, number: int, *, uid: str = "uid", attempt: int = 1) -> TaskMessage:
    headers = TaskHeaders(
        cluster="c",
        namespace="ns",
        name="t",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        run=0,
        attempt=attempt,
        dispatches=1,
        timeout=timedelta(seconds=1),
    )
    return TaskMessage(delivery(Tag(session, number)), headers, TaskUid(uid), b"null", None)


def admit(inflight: Inflight, message: TaskMessage | OutsideMessage) -> Entry:
    entry = inflight.admit(message)
    assert entry is not None
    return entry


def test_a_run_outlives_its_connection_and_takes_the_new_tag() -> None:
    inflight = Inflight()
    entry = admit(inflight, task(1, 1))
    entry.state = State.ACTIVE
    inflight.lose(lambda tag: tag.session == 2)
    assert entry.tags == []
    assert inflight.admit(task(2, 9)) is None
    assert entry.tags == [Tag(2, 9)]


def test_what_was_not_started_goes_with_its_connection() -> None:
    inflight = Inflight()
    waiting, parked = admit(inflight, task(1, 1)), admit(inflight, task(1, 2, uid="other"))
    parked.state = State.PARKED
    inflight.lose(lambda _: False)
    assert (waiting.state, parked.state) == (State.FORGOTTEN, State.FORGOTTEN)
    assert admit(inflight, task(2, 1)) is not waiting


def test_both_tags_of_a_message_published_twice_are_kept() -> None:
    inflight = Inflight()
    entry = admit(inflight, task(1, 1))
    assert inflight.admit(task(1, 2)) is None
    assert entry.tags == [Tag(1, 1), Tag(1, 2)]


def test_finished_work_is_known_when_its_message_comes_again() -> None:
    inflight = Inflight()
    entry = admit(inflight, task(1, 1))
    inflight.finish(entry)
    assert inflight.is_done(task(2, 1))
    assert not inflight.is_done(task(2, 1, attempt=2))


def test_a_dead_letter_that_was_put_back_is_never_known_as_done() -> None:
    # Its Task may be unfinished, when the API server took no outcome.
    inflight = Inflight()
    inflight.finish(admit(inflight, task(1, 1)))
    back = delivery(Tag(2, 1), {"x-tq-failed-at": "2026-01-01T12:00:00Z"})
    assert not inflight.is_done(replace(task(2, 1), delivery=back))


def test_forgotten_work_is_new_when_its_message_comes_again() -> None:
    inflight = Inflight()
    inflight.forget(admit(inflight, task(1, 1)))
    assert not inflight.is_done(task(1, 2))
    assert inflight.admit(task(1, 2)) is not None


def test_finished_work_is_remembered_within_bounds() -> None:
    inflight = Inflight()
    for number in range(1001):
        inflight.finish(admit(inflight, task(1, number, uid=f"uid-{number}")))
    assert not inflight.is_done(task(1, 1, uid="uid-0"))
    assert inflight.is_done(task(1, 1, uid="uid-1"))


def test_messages_from_outside_are_never_taken_for_each_other() -> None:
    inflight = Inflight()
    first = admit(inflight, OutsideMessage(delivery(Tag(1, 1)), b"null", 1))
    inflight.finish(first)
    again = OutsideMessage(delivery(Tag(1, 2)), b"null", 1)
    assert not inflight.is_done(again)
    assert admit(inflight, again) is not first
    assert len(inflight.held(State.WAITING)) == 1
