"""Slots as they are: real processes that run real handlers, good and bad."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from taskqueue_worker.handling import build_runner
from taskqueue_worker.outcomes import Failure, Success
from taskqueue_worker.processes import Launcher, LauncherError
from taskqueue_worker.runners import Job, Runner
from taskqueue_worker.sdk import RETRY_AFTER_MAX
from taskqueue_worker.statuses import Progress

pytestmark = pytest.mark.asyncio(loop_scope="module")

HANDLERS = Path(__file__).parent / "handlers"
MODULE = "worker_test_handlers"
MIB = 1024 * 1024


def job(handler: str, payload: Any = None, timeout: float = 8) -> Job:
    return Job(
        handler=handler,
        payload=json.dumps(payload).encode(),
        timeout=timeout,
        uid="uid-1",
        attempt=2,
        namespace="ns",
        name="t",
        queue="q",
    )


class Slots:
    """A running launcher with its runner, and what handlers logged."""

    def __init__(self, launcher: Launcher, count: int) -> None:
        self.launcher = launcher
        self.logged: list[str] = []
        self.logging: list[Job] = []
        self.runner: Runner = build_runner(launcher, count, self._log)

    def _log(self, job: Job, head: dict[str, Any]) -> None:
        self.logging.append(job)
        self.logged.append(head["message"])

    async def result(self, handler: str, payload: Any = None) -> Any:
        outcome = await self.runner.run(job(handler, payload))
        assert isinstance(outcome, Success), outcome
        return None if outcome.result is None else json.loads(outcome.result)

    async def error(self, handler: str, payload: Any = None, seconds: float = 8) -> Failure:
        outcome = await self.runner.run(job(handler, payload, seconds))
        assert isinstance(outcome, Failure), outcome
        return outcome


@pytest.fixture(scope="module", autouse=True)
def python_path() -> Iterator[None]:
    paths = [str(HANDLERS), *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        yield


@contextlib.asynccontextmanager
async def started(module: str, slots: int = 2) -> AsyncIterator[Slots]:
    launcher = Launcher({"python": {"module": module}})
    try:
        await launcher.start()
        running = Slots(launcher, slots)
        await running.runner.prepare()
        yield running
        running.runner.close()
    finally:
        await launcher.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slots() -> AsyncIterator[Slots]:
    # One for all tests: that it goes on after each of them is part of what they show.
    async with started(MODULE) as running:
        yield running


@pytest.mark.parametrize(
    "payload", [None, {}, [], "", "żółć 例 🐇", {"ключ": [1.5, None, True]}], ids=repr
)
async def test_a_payload_arrives_as_it_was_sent(slots: Slots, payload: Any) -> None:
    assert await slots.result("echo", payload) == payload


async def test_a_payload_as_large_as_a_secret_can_be_arrives_whole(slots: Slots) -> None:
    assert await slots.result("length", "x" * MIB) == MIB


async def test_progress_arrives_when_it_changes(slots: Slots) -> None:
    said: list[Progress] = []
    calls = [[0], [0.4, "halfway"], [0.4, "halfway"], [0.401, "halfway"], [1, "a\x1b[1m\ud800b"]]
    outcome = await slots.runner.run(replace(job("progress", calls), report=said.append))
    assert outcome == Success(None)
    assert said == [Progress(0), Progress(40, "halfway"), Progress(100, "a\ufffd[1m?b")]


async def test_a_context_can_be_given_to_another_process(slots: Slots) -> None:
    said: list[Progress] = []
    outcome = await slots.runner.run(replace(job("progress_elsewhere"), report=said.append))
    assert outcome == Success(b'"uid-1"')
    assert said == []


async def test_progress_that_cannot_be_meant_fails_in_the_handler(slots: Slots) -> None:
    error = await slots.error("progress", [[1.7]])
    assert (error.type, error.message) == ("ValueError", "progress must be from 0 to 1, not 1.7")
    assert "in progress" in error.traceback


async def test_what_a_thread_says_after_its_handler_is_not_taken_for_the_next_ones() -> None:
    async with started(MODULE, slots=1) as slots:
        said: list[Progress] = []
        await slots.runner.run(replace(job("progress_later", 0.1), report=said.append))
        await slots.runner.run(replace(job("progress_after", 0.3), report=said.append))
        assert said == [Progress(50, "of its own")]


async def test_a_coroutine_gets_its_context_and_a_logger(slots: Slots) -> None:
    result = await slots.result("context", "you")
    assert result == {"uid": "uid-1", "attempt": 2, "name": "t", "queue": "q"}
    assert "hello you" in slots.logged


async def test_a_payload_is_validated_by_its_model(slots: Slots) -> None:
    assert await slots.result("mail", {"to": "a@b"}) == {"to": "a@b", "copies": 1}
    error = await slots.error("mail", {"copies": "secret"})
    assert error.type == "InvalidPayload"
    assert "to: Field required" in error.message
    assert "copies: Input should be a valid integer" in error.message
    assert "secret" not in error.message


async def test_an_exception_is_named_with_its_words(slots: Slots) -> None:
    error = await slots.error("fail", "ключ")
    assert (error.type, error.message) == ("KeyError", "'ключ'")
    assert "in fail" in error.traceback


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(None, None, id="by the policy"),
        pytest.param(0, 0.0, id="at once"),
        pytest.param(0.25, 0.25, id="a moment later"),
        pytest.param(RETRY_AFTER_MAX, RETRY_AFTER_MAX, id="at the longest"),
    ],
)
async def test_a_handler_may_say_when_it_is_tried_again(
    slots: Slots, after: float | None, expected: float | None
) -> None:
    error = await slots.error("retry", after)
    assert (error.type, error.message) == ("Retry", "not yet")
    assert (error.permanent, error.after) == (False, expected)
    assert error.traceback == ""


async def test_a_coroutine_may_say_so_too(slots: Slots) -> None:
    error = await slots.error("retry_in_a_minute")
    assert (error.type, error.message, error.after) == ("Retry", "", 60.0)


@pytest.mark.parametrize("after", [-1, RETRY_AFTER_MAX + 1])
async def test_a_handler_that_asks_for_what_cannot_be_fails_as_any_other(
    slots: Slots, after: float
) -> None:
    error = await slots.error("retry", after)
    assert (error.type, error.permanent, error.after) == ("ValueError", False, None)
    assert "after must be from 0 to" in error.message


async def test_a_handler_may_reject_its_payload_for_good(slots: Slots) -> None:
    error = await slots.error("reject", "żółć")
    assert (error.type, error.message, error.permanent) == ("Rejected", "żółć", True)
    assert error.traceback == ""
    assert await slots.result("echo", 1) == 1


async def test_an_exception_may_pass_and_a_wrong_payload_does_not(slots: Slots) -> None:
    assert not (await slots.error("fail", 1)).permanent
    assert not (await slots.error("kill")).permanent
    assert (await slots.error("mail", {})).permanent


async def test_a_slot_that_exits_is_replaced(slots: Slots) -> None:
    error = await slots.error("exit", 3)
    assert (error.type, error.message) == ("Exited", "the handler's process ended: exit code 3")
    assert (await slots.error("exit", 0)).type == "Exited"
    assert await slots.result("echo", "still here") == "still here"


async def test_a_slot_survives_sys_exit(slots: Slots) -> None:
    before = {await slots.result("pid"), await slots.result("pid")}
    error = await slots.error("sys_exit", 4)
    assert error.type == "Exited"
    assert "exit code 4" in error.message
    assert await slots.result("pid") in before


async def test_a_killed_slot_names_the_signal(slots: Slots) -> None:
    error = await slots.error("kill")
    assert error.type == "Killed"
    assert "SIGKILL" in error.message
    assert await slots.result("echo", 1) == 1


async def test_garbage_on_standard_output_harms_nothing(slots: Slots) -> None:
    assert await slots.result("garbage") == "fine"
    assert await slots.result("echo", 1) == 1


@pytest.mark.parametrize(
    ("handler", "payload", "error_type"),
    [
        ("big", 1024 * 1024, "ResultTooLarge"),
        ("not_json", None, "ResultNotJson"),
        ("nan", None, "ResultNotJson"),
    ],
)
async def test_a_bad_result_is_a_clear_error(
    slots: Slots, handler: str, payload: Any, error_type: str
) -> None:
    assert (await slots.error(handler, payload)).type == error_type
    assert await slots.result("echo", 1) == 1


async def test_a_handler_that_forks_answers_once(slots: Slots) -> None:
    assert await slots.result("fork") == "once"
    assert [await slots.result("echo", n) for n in range(4)] == [0, 1, 2, 3]


async def test_a_timeout_kills_the_handler_and_its_children(
    slots: Slots, tmp_path: Path, has_ended: Callable[[int], bool]
) -> None:
    file = tmp_path / "pid"
    error = await slots.error("sleep_with_child", str(file), seconds=0.7)
    assert error.type == "Timeout"
    assert "0.7 s" in error.message
    assert await asyncio.to_thread(has_ended, int(file.read_text()))
    assert await slots.result("echo", 1) == 1


async def test_handlers_do_not_see_the_workers_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TASKQUEUE_NAMESPACE", "ns")
    async with started(MODULE) as slots:
        assert await slots.result("environment") == []


async def test_jobs_run_side_by_side(slots: Slots) -> None:
    assert await asyncio.gather(*(slots.result("echo", n) for n in range(2))) == [0, 1]


async def test_a_module_with_threads_is_not_forked() -> None:
    async with started("worker_test_threads") as slots:
        # A forked copy would have lost the module's thread.
        assert await slots.result("threads") == 2


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("worker_test_broken", "RuntimeError: no database here"),
        ("worker_test_missing", "No module named 'worker_test_missing'"),
        ("worker_test_empty", "registers no handler"),
        ("worker_test_twice", "registered twice"),
    ],
)
async def test_a_module_that_cannot_be_used_is_one_clear_error(module: str, words: str) -> None:
    with pytest.raises(LauncherError, match=words) as caught:
        async with started(module):
            pass
    assert module in str(caught.value)


async def test_a_dead_launcher_is_noticed() -> None:
    async with started(MODULE) as slots:
        assert slots.launcher.pid is not None
        os.kill(slots.launcher.pid, 9)
        assert slots.launcher.dead is not None
        assert "has ended" in str(await slots.launcher.dead)
        # Its slots are not trusted any more, and no new one can be started.
        assert (await slots.error("echo")).type == "SlotNotStarted"


SAID = ["printed a", "logged a", "written", "unfinished"]


@pytest.mark.parametrize(
    ("end", "error_type"),
    [
        pytest.param("boom", "ValueError", id="an exception"),
        pytest.param("exit", "Exited", id="sys.exit"),
        pytest.param("kill", "Killed", id="a signal"),
        pytest.param("hang", "Timeout", id="the timeout"),
    ],
)
async def test_a_failure_has_what_was_printed_and_logged_last(
    slots: Slots, end: str, error_type: str
) -> None:
    await slots.result("say", {"text": "of another"})
    error = await slots.error("say", {"text": "a", "end": end}, seconds=0.7)
    assert error.type == error_type
    # What was logged comes by another way.
    assert sorted(error.log.splitlines()) == sorted(SAID)
    assert (await slots.error("fail")).log == ""


async def test_what_is_printed_is_in_the_pods_log_as_it_was(
    slots: Slots, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert await slots.result("garbage") == "fine"
    found = b""
    async with asyncio.timeout(5):
        while b"more garbage\n" not in found:
            await asyncio.sleep(0.01)
            found += capfdbinary.readouterr().err
    assert found == b"\x00\xff garbage without a line's end {more garbage\n"


async def test_a_handler_that_prints_megabytes_is_not_held_up(slots: Slots) -> None:
    lines = 50_000
    error = await slots.error("flood", lines)
    assert error.message == "that is all"
    kept = error.log.splitlines()
    assert [int(line) for line in kept] == list(range(lines - 20, lines))


async def test_one_that_got_away_holds_nothing_up_and_may_print_on(
    slots: Slots, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pid"
    error = await slots.error("leave_printing", str(file))
    try:
        assert (error.type, error.log) == ("Killed", "begun")
        assert await slots.result("echo", 1) == 1
        (tmp_path / "pid.go").touch()
        found = ""
        async with asyncio.timeout(5):
            while "late" not in found:
                await asyncio.sleep(0.01)
                found += capfd.readouterr().err
    finally:
        os.kill(int(file.read_text()), 9)
    assert (await slots.error("fail")).log == ""


async def test_a_slot_that_is_not_forked_prints_to_the_same_place() -> None:
    async with started("worker_test_threads") as slots:
        error = await slots.error("say")
        assert error.log == "said"


async def test_what_the_module_prints_at_import_is_printed_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with started("worker_test_prints") as slots:
        assert (await slots.error("say")).log == "said"
    assert capfd.readouterr().err.count("imported") == 1
