"""Limits hold over all worker pods, whatever becomes of these."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from e2e.manifests import task
from e2e.recorder import Run
from e2e.space import Space, count_runs
from e2e.system import kill_process
from taskqueue_api.names import cooling_queue, rate_tokens, running_tokens

RATE_TASKS, RATE_SECONDS = 5, 5.0
REPAIR_SECONDS = 120
"""What vanished from RabbitMQ is back by then."""


def limited(space: Space, name: str, **limits: Any) -> None:
    """Create a TaskQueue of two pods with four slots each, and wait until they are ready."""
    workers = {"replicas": 2, "concurrency": 4, **limits}
    space.apply(space.scenario_queue(name, workers))
    space.wait_queue(name)
    space.wait_workers(name, 2)


def start_slow(space: Space, queue: str, prefix: str, count: int) -> None:
    """Create Tasks of a second each."""
    space.create_all(
        task(f"{prefix}-{n:02}", queue, "slow", payload={"seconds": 1}) for n in range(count)
    )


def most_starts(times: Iterable[float], seconds: float) -> int:
    """Return how many there are at most in any window of a length."""
    ordered = sorted(times)
    return max(sum(begin <= time < begin + seconds for time in ordered) for begin in ordered)


def most_at_once(space: Space, prefix: str) -> int:
    """Return how many of these Tasks ran at the same time, at most."""

    def times(event: str) -> list[Run]:
        return [run for run in space.runs(event) if run.name.startswith(prefix)]

    changes = [(run.time, 1) for run in times("start")] + [(run.time, -1) for run in times("end")]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def wait_tokens(space: Space, queue: str, count: int) -> None:
    """Wait until so many tokens are to be had."""

    def found() -> bool:
        depth = space.system.rabbit.depth(queue)
        return depth is not None and depth.ready == count

    space.wait(f"'{queue}' has {count} tokens", found, REPAIR_SECONDS)


def wait_token_queues(space: Space, name: str, *queues: str) -> None:
    """Wait until a TaskQueue has these queues of tokens and no others, all whole."""

    def found() -> bool:
        status = space.get("TaskQueue", name)["status"]
        return bool(status.get("tokenQueues", {}) == dict.fromkeys(queues, "Whole"))

    space.wait(f"the token queues are {queues}", found)


def test_no_more_handlers_start_within_the_time_than_the_rate_says(space: Space) -> None:
    limited(space, "rate", rateLimit={"tasks": RATE_TASKS, "per": f"{RATE_SECONDS:g}s"})
    space.create_all(task(f"t-{n:02}", "rate", "record") for n in range(20))
    space.wait_tasks(20)
    runs = space.runs()
    assert set(count_runs(runs).values()) == {1}
    assert most_starts((run.time for run in runs), RATE_SECONDS) == RATE_TASKS
    assert len({run.pod for run in runs}) == 2
    # None is lost on its way round.
    tokens = rate_tokens(space.name, "rate", RATE_TASKS, timedelta(seconds=RATE_SECONDS))
    wait_tokens(space, tokens, RATE_TASKS)
    wait_tokens(space, cooling_queue(tokens), 0)


def test_no_more_handlers_run_at_once_than_the_limit_says(space: Space) -> None:
    limited(space, "running", maxRunning=3, claim="Always")
    start_slow(space, "running", "t", 12)
    # Each is shown as Running from its start on, and what waits for a token is not.
    space.wait("three run", lambda: len(space.tasks("status.phase=Running")) == 3)
    space.wait_tasks(12)
    assert most_at_once(space, "t") == 3
    assert {one["status"]["attempts"] for one in space.tasks()} == {1}
    wait_tokens(space, running_tokens(space.name, "running", 3), 3)


def test_a_worker_that_is_killed_takes_no_token_with_it(space: Space) -> None:
    limited(space, "killed", maxRunning=3)
    space.create_all(task(f"held-{n}", "killed", "hold") for n in range(6))
    space.wait("three run", lambda: len(space.runs("start")) == 3)
    victim = space.runs("start")[0].pod
    kill_process(space.get("Pod", victim), "taskqueue_worker")
    # Its tokens are had by others, and what it ran is run again in its turn.
    space.wait("others start", lambda: len(space.runs("start")) > 3)
    space.let_go()
    space.wait_tasks(6)
    wait_tokens(space, running_tokens(space.name, "killed", 3), 3)
    space.wait_workers("killed", 2)
    start_slow(space, "killed", "after", 12)
    space.wait_tasks(18)
    assert most_at_once(space, "after") == 3


def test_a_limit_that_is_changed_holds_once_the_workers_are_replaced(space: Space) -> None:
    one, four = (running_tokens(space.name, "changed", most) for most in (1, 4))
    limited(space, "changed", maxRunning=1)
    start_slow(space, "changed", "before", 3)
    space.wait_tasks(3)
    assert most_at_once(space, "before") == 1
    space.edit_queue("changed", workers={"maxRunning": 4})
    # The tokens of before go last of all.
    wait_token_queues(space, "changed", four)
    assert space.system.rabbit.depth(one) is None
    start_slow(space, "changed", "after", 12)
    space.wait_tasks(15)
    assert most_at_once(space, "after") == 4
    space.edit_queue("changed", workers={"maxRunning": None})
    wait_token_queues(space, "changed")
    assert space.system.rabbit.depth(four) is None
    start_slow(space, "changed", "free", 12)
    space.wait_tasks(27)
    assert most_at_once(space, "free") > 4


def test_tokens_that_vanished_from_rabbitmq_come_back_and_go_with_the_taskqueue(
    space: Space,
) -> None:
    per = timedelta(seconds=2)
    running = running_tokens(space.name, "lost", 2)
    rate = rate_tokens(space.name, "lost", 9, per)
    limited(space, "lost", maxRunning=2, rateLimit={"tasks": 9, "per": "2s"})
    for queue in (running, cooling_queue(rate)):
        with space.system.rabbit.channel() as channel:
            channel.queue_delete(queue)
    wait_tokens(space, running, 2)
    wait_tokens(space, rate, 9)
    wait_tokens(space, cooling_queue(rate), 0)
    start_slow(space, "lost", "t", 6)
    space.wait_tasks(6)
    assert most_at_once(space, "t") == 2
    space.system.api.delete("TaskQueue", space.name, "lost")
    space.wait_gone("TaskQueue", "lost")
    for queue in (running, rate, cooling_queue(rate)):
        assert space.system.rabbit.depth(queue) is None


@pytest.mark.own_operator
def test_limits_hold_while_there_is_no_operator(space: Space) -> None:
    limited(space, "alone", maxRunning=2, rateLimit={"tasks": 3, "per": "3s"})
    start_slow(space, "alone", "t", 9)
    space.wait("all are published", lambda: space.dispatched("alone") == 9)
    space.system.scale_operator(0)
    try:
        space.wait_tasks(9)
    finally:
        space.system.scale_operator(1)
    assert most_at_once(space, "t") == 2
    assert most_starts((run.time for run in space.runs("start")), 3.0) == 3
