"""Several jobs that are sent to one slot at a time: real processes, as in test_python_slots.py."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from taskqueue_worker import descriptors, packets, slots
from taskqueue_worker.outcomes import Failure, Outcome, Success
from taskqueue_worker.processes import Process, StartError
from taskqueue_worker.runners import Job
from taskqueue_worker.statuses import Progress
from tests.worker.test_python_slots import MODULE, Slots, job, python_path, started

__all__ = ["python_path"]  # a fixture that is used by itself

KIB = 1024


@pytest.fixture
async def one() -> AsyncIterator[Slots]:
    async with started(MODULE, slots=1) as running:
        yield running
        assert await running.result("echo", 1) == 1


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing count as long."""
    monkeypatch.setattr(slots, "LONG_SECONDS", 3600)


@dataclass
class Run:
    """What becomes of some jobs. on_end: called when one has ended."""

    ends: dict[int, Outcome] = field(default_factory=dict)
    back: list[int] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    on_end: Callable[[], None] = lambda: None

    def ended(self, place: int, outcome: Outcome) -> None:
        assert place not in [*self.ends, *self.back]
        self.ends[place] = outcome
        self.on_end()
        self.changed.set()

    def put_back(self, place: int) -> None:
        assert place not in [*self.ends, *self.back]
        self.back.append(place)
        self.changed.set()

    @property
    def outcomes(self) -> list[Outcome]:
        return list(self.ends.values())

    def start(self, running: Slots, *jobs: Job) -> "asyncio.Task[None]":
        return asyncio.create_task(running.runner.run_some(jobs, self.ended, self.put_back))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def wait_for_file(path: Path) -> None:
    while not path.exists():
        time.sleep(0.001)


def notes(path: Path, *texts: Any) -> list[Job]:
    """Return jobs that leave a note each."""
    return [job("note", [str(path), text]) for text in texts]


def read(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.usefixtures("patient")
async def test_quick_ones_are_run_in_their_order(one: Slots, tmp_path: Path) -> None:
    run, numbers = Run(), range(one.runner.ahead + 1)
    await run.start(one, *notes(tmp_path / "notes", *numbers))
    assert (run.outcomes, run.back) == ([Success(None)] * len(numbers), [])
    assert read(tmp_path / "notes") == [str(number) for number in numbers]


@pytest.mark.usefixtures("patient")
async def test_each_has_its_own_outcome_log_and_progress(one: Slots) -> None:
    said: list[tuple[Any, Progress]] = []

    def named(handler: str, payload: Any) -> Job:
        return replace(job(handler, payload), report=lambda one: said.append((payload, one)))

    run = Run()
    jobs = [named("log_and_report", 0.25), named("fail", "no"), named("log_and_report", 0.75)]
    await run.start(one, *jobs)
    first, second, third = run.outcomes
    assert (first, third) == (Success(None), Success(None))
    assert isinstance(second, Failure)
    assert second.message == "'no'"
    assert said == [(0.25, Progress(25)), (0.75, Progress(75))]
    assert [jobs.index(logged) for logged in one.logging] == [0, 2]


@pytest.mark.usefixtures("patient")
async def test_none_waits_behind_a_long_one(
    one: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, go = Run(on_end=lambda: monkeypatch.setattr(slots, "LONG_SECONDS", 0.0)), tmp_path / "go"
    long = job("await_file", str(go))
    running = run.start(one, *notes(tmp_path / "notes", "a"), long, *notes(tmp_path, "b", "c"))
    await run.until(lambda: run.back == [2, 3])
    assert not running.done()
    go.touch()
    await running
    assert (run.outcomes, run.back) == ([Success(None)] * 2, [2, 3])
    assert read(tmp_path / "notes") == ["a"]


async def test_the_slot_may_read_on_while_jobs_are_taken_back(
    one: Slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is taken back, then the first ends, and the slot begins the third."""
    go, begun, end = (tmp_path / name for name in ("go", "begun", "end"))
    receive = descriptors.receive

    def receive_and_let_go(*arguments: Any) -> tuple[bytes, list[int]]:
        received = receive(*arguments)
        go.touch()
        wait_for_file(begun)
        return received

    monkeypatch.setattr(packets, "receive", receive_and_let_go)
    run, path = Run(), tmp_path / "notes"
    running = run.start(
        one,
        job("await_file", str(go)),
        *notes(path, "second"),
        job("say_and_await", [str(begun), str(end)]),
        *notes(path, "fourth"),
    )
    await run.until(lambda: run.back == [1, 3])
    end.touch()
    await running
    assert run.ends == {0: Success(None), 2: Success(b'"third"')}
    assert read(path) == []


@pytest.mark.usefixtures("patient")
async def test_those_behind_one_that_dies_were_never_begun(one: Slots, tmp_path: Path) -> None:
    run, path = Run(), tmp_path / "notes"
    await run.start(one, *notes(path, "a"), job("kill"), *notes(path, "b", "c"))
    first, second = run.outcomes
    assert first == Success(None)
    assert isinstance(second, Failure)
    assert second.type == "Killed"
    assert run.back == [2, 3]
    assert read(path) == ["a"]


@pytest.mark.usefixtures("patient")
async def test_each_has_its_whole_timeout(one: Slots, tmp_path: Path) -> None:
    """Counted from when it begins, not from when it was sent."""
    run, go = Run(), tmp_path / "go"
    running = run.start(one, job("await_file", str(go)), job("echo", timeout=1))
    await asyncio.wait([running], timeout=1.5)
    go.touch()
    await running
    assert run.outcomes == [Success(None)] * 2
    late = Run()
    await late.start(one, job("await_file", str(tmp_path / "never"), timeout=0.2), job("echo"))
    (outcome,) = late.outcomes
    assert isinstance(outcome, Failure)
    assert outcome.type == "Timeout"


@pytest.mark.usefixtures("patient")
async def test_what_does_not_fit_comes_back(one: Slots) -> None:
    run, payload = Run(), "x" * 40 * KIB
    await run.start(one, *[job("length", payload)] * 4)
    assert (run.outcomes, run.back) == ([Success(b"40960")], [1, 2, 3])


async def test_what_cannot_be_run_at_all_is_the_first_ones_failure(
    one: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise StartError("no processes left")

    run = Run()
    async with started(MODULE, slots=0) as running:
        monkeypatch.setattr(running.launcher, "launch", refuse)
        await run.start(running, job("echo"), job("echo"))
    (outcome,) = run.outcomes
    assert isinstance(outcome, Failure)
    assert (outcome.type, run.back) == ("SlotNotStarted", [1])


@pytest.mark.usefixtures("patient")
async def test_a_slot_that_is_given_up_begins_nothing_more(one: Slots, tmp_path: Path) -> None:
    """Also where the user's module takes SIGTERM for an outcome of the handler."""
    run, begun, path = Run(), tmp_path / "begun", tmp_path / "notes"
    running = run.start(one, job("exit_on_term", str(begun)), *notes(path, "second"))
    await asyncio.to_thread(wait_for_file, begun)
    running.cancel()
    await asyncio.wait([running])
    assert read(path) == []


async def test_a_slot_that_is_not_wanted_any_more_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, has_ended: Callable[[int], bool]
) -> None:
    async with started(MODULE, slots=0) as running:
        launched: list[Process] = []
        launch = running.launcher.launch

        async def launch_and_cancel(descriptors: list[int]) -> Process:
            launched.append(await launch(descriptors))
            asked.cancel()
            return launched[0]

        monkeypatch.setattr(running.launcher, "launch", launch_and_cancel)
        asked = asyncio.create_task(running.runner.run(job("echo")))
        await asyncio.wait([asked])
        assert asked.cancelled()
        assert await asyncio.to_thread(has_ended, launched[0].pid)
