"""Clock, cgroup, frames, health, metrics labels, waiting times, examples."""

import time
from email.utils import formatdate

import pytest

from taskqueue_worker import examples
from taskqueue_worker.api import backoff_seconds
from taskqueue_worker.cgroup import parse_oom_kills
from taskqueue_worker.clock import KEPT_SECONDS, ServerClock
from taskqueue_worker.frames import BrokenStreamError, FrameBuffer, pack
from taskqueue_worker.health import UNREGISTERED_SECONDS, Health
from taskqueue_worker.metrics import HandlerLabels
from taskqueue_worker.waiting import park_seconds, spare_messages


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_servers_clock_is_unknown_until_it_answers() -> None:
    clock = ServerClock(lambda: 0.0)
    clock.observe(None)
    clock.observe("yesterday")
    assert clock.now() is None


def test_the_best_estimate_is_the_greatest() -> None:
    local = Clock()
    clock = ServerClock(local)
    local.now = 0.9  # the server's true time is 100.9, and it says 100
    clock.observe("Thu, 01 Jan 1970 00:01:40 GMT")
    assert clock.now() == 100.0
    local.now = 2.1
    clock.observe("Thu, 01 Jan 1970 00:01:42 GMT")
    assert clock.now() == 102.0
    local.now = 2.9
    clock.observe("Thu, 01 Jan 1970 00:01:42 GMT")
    assert clock.now() == pytest.approx(102.8)


def test_an_estimate_that_was_too_great_is_forgotten() -> None:
    local = Clock()
    clock = ServerClock(local)
    clock.observe("Thu, 01 Jan 1970 01:00:00 GMT")
    # The server's clock was set back by an hour since.
    for local.now in (1.0, KEPT_SECONDS, 2 * KEPT_SECONDS):
        clock.observe(formatdate(local.now, usegmt=True))
    assert clock.now() == local.now


def test_a_good_estimate_is_not_given_up_for_a_single_worse_one() -> None:
    local = Clock()
    clock = ServerClock(local)
    clock.observe("Thu, 01 Jan 1970 00:00:00 GMT")
    local.now = KEPT_SECONDS + 0.9
    clock.observe(formatdate(KEPT_SECONDS, usegmt=True))
    assert clock.now() == local.now


def test_a_local_clock_that_is_set_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ServerClock()
    clock.observe("Thu, 01 Jan 2026 00:00:00 GMT")
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 2**33)
    after = clock.now()
    assert before is not None
    assert after is not None
    assert after - before < 60


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 2\noom 1\noom_kill 3\noom_group_kill 1\n", 3),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\n", None),
        ("", None),
    ],
    ids=["version 2", "version 1", "old kernel", "empty"],
)
def test_the_kernels_counter_is_found(text: str, count: int | None) -> None:
    assert parse_oom_kills(text) == count


def test_frames_come_whole_however_they_are_cut() -> None:
    data = pack({"a": 1}, b"body") + pack({"b": "é"})
    buffer = FrameBuffer()
    frames = [frame for i in range(len(data)) for frame in buffer.feed(data[i : i + 1])]
    assert frames == [({"a": 1}, b"body"), ({"b": "é"}, b"")]


def test_a_broken_stream_is_refused() -> None:
    with pytest.raises(BrokenStreamError):
        FrameBuffer().feed(b"garbage!")


@pytest.mark.parametrize(
    ("connected", "consuming", "later", "live"),
    [
        pytest.param(False, False, 1000, True, id="broker down"),
        pytest.param(True, True, 1000, True, id="consuming"),
        pytest.param(True, False, UNREGISTERED_SECONDS - 1, True, id="not yet consuming"),
        pytest.param(True, False, UNREGISTERED_SECONDS, False, id="stuck"),
    ],
)
def test_liveness(connected: bool, consuming: bool, later: float, live: bool) -> None:
    clock = Clock()
    health = Health(connected=lambda: connected, consuming=lambda: consuming, monotonic=clock)
    health.live()
    clock.now = later
    assert health.live() is live
    assert health.answer("/healthz")[0] == (200 if live else 503)


def test_a_draining_worker_is_live_and_not_ready() -> None:
    health = Health(connected=lambda: True, consuming=lambda: True)
    assert health.answer("/readyz")[0] == 200
    health.draining = True
    assert (health.answer("/readyz")[0], health.answer("/healthz")[0]) == (503, 200)


def test_metrics_are_served_and_the_rest_is_not() -> None:
    health = Health(connected=lambda: True, consuming=lambda: True)
    assert b"taskqueue_worker_slots" in health.answer("/metrics")[2]
    assert health.answer("/")[0] == 404


def test_labels_are_bounded() -> None:
    assert HandlerLabels(frozenset({"a"})).label("b") == "unknown"
    labels = HandlerLabels(None)
    assert [labels.label(str(n)) for n in range(101)][-2:] == ["99", "unknown"]
    assert labels.label("0") == "0"


def test_waits_double_to_their_bound() -> None:
    assert [park_seconds(n) for n in (1, 2, 3, 6, 100)] == [2, 4, 8, 60, 60]
    assert [backoff_seconds(n, 0.5, 30, 1) for n in (1, 2, 3, 99)] == [0.5, 1, 2, 30]
    assert 0 < backoff_seconds(1, 0.5, 30, 0) < 0.1


def test_few_messages_wait_in_a_worker() -> None:
    assert [spare_messages(n) for n in (1, 4, 64)] == [1, 4, 8]


def test_words_are_counted_in_any_script() -> None:
    text = "Zażółć gęślą jaźń.\nŻuk, ŻUK!\nIt's, it's\n"
    assert examples.word_count({"text": text}) == {
        "words": 7,
        "lines": 3,
        "characters": len(text),
        "top": [
            {"word": "it's", "count": 2},
            {"word": "żuk", "count": 2},
            {"word": "gęślą", "count": 1},
            {"word": "jaźń", "count": 1},
            {"word": "zażółć", "count": 1},
        ],
    }
