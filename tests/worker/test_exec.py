"""Programs as handlers: real processes, a shell script each."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from taskqueue_worker.handling import build_runner
from taskqueue_worker.outcomes import Failure, Outcome, Success
from taskqueue_worker.processes import Launcher, LauncherError, StartError
from taskqueue_worker.runners import ExecRunner, Job


@contextlib.asynccontextmanager
async def launcher_for(command: list[str]) -> AsyncIterator[Launcher]:
    launcher = Launcher({"exec": {"command": command}})
    try:
        await launcher.start()
        yield launcher
    finally:
        await launcher.close()


async def run(script: str, payload: bytes = b"null", seconds: float = 8) -> Outcome:
    job = Job(
        handler="greet",
        payload=payload,
        timeout=seconds,
        uid="uid-1",
        attempt=1,
        namespace="ns",
        name="t",
        queue="q",
    )
    async with launcher_for(["sh", "-c", script]) as launcher:
        return await build_runner(launcher, 1, lambda *_: None).run(job)


@pytest.mark.parametrize(
    ("script", "result"),
    [
        pytest.param("cat", '{"имя": "é"}'.encode(), id="payload on standard input"),
        pytest.param("cat >/dev/null", None, id="nothing printed"),
        pytest.param("echo '[1]'", b"[1]", id="payload not read"),
        pytest.param(
            'echo "\\"$TASK_HANDLER $TASK_UID $TASK_NAME $TASK_NAMESPACE $TASK_ATTEMPT '
            '$TASK_QUEUE\\""',
            b'"greet uid-1 t ns 1 q"',
            id="environment",
        ),
        # The fourth is the shell's own, of the folder that it lists.
        pytest.param("cd /proc/$$/fd; set -- *; echo $#", b"4", id="its three descriptors"),
    ],
)
async def test_a_program_succeeds_with_what_it_prints(script: str, result: bytes | None) -> None:
    outcome = await run(script, '{"имя":"é"}'.encode())
    expected = None if result is None else result.replace(b": ", b":")
    assert outcome == Success(expected)


@pytest.mark.parametrize(
    ("script", "result"),
    [
        pytest.param("wc -c", b"1048576", id="read"),
        pytest.param("echo 1", b"1", id="not read"),
    ],
)
async def test_a_program_gets_a_payload_as_large_as_a_secret_can_be(
    script: str, result: bytes
) -> None:
    payload = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    assert await run(script, payload) == Success(result)


@pytest.mark.parametrize(
    ("script", "error_type", "words"),
    [
        pytest.param("echo oops >&2; exit 3", "ExitCode", "exit code 3: oops", id="exit code"),
        pytest.param("exit 3", "ExitCode", "exit code 3", id="silent"),
        pytest.param("kill -9 $$", "Killed", "SIGKILL", id="signal"),
        pytest.param("echo not json", "ResultNotJson", "not json", id="not JSON"),
        pytest.param("head -c 2000000 /dev/zero", "ResultTooLarge", "1048576", id="endless"),
        pytest.param(
            "printf '\"'; head -c 9000 /dev/zero | tr '\\0' x; printf '\"'",
            "ResultTooLarge",
            "8192",
            id="too big",
        ),
    ],
)
async def test_a_program_fails_with_a_clear_error(script: str, error_type: str, words: str) -> None:
    outcome = await run(script)
    assert isinstance(outcome, Failure)
    assert outcome.type == error_type
    assert words in outcome.message


@pytest.mark.parametrize(
    ("code", "error_type", "permanent"),
    [
        pytest.param(1, "ExitCode", False, id="any failure"),
        pytest.param(64, "ExitCode", False, id="one below"),
        pytest.param(65, "Rejected", True, id="rejected"),
        pytest.param(66, "ExitCode", False, id="one above"),
        pytest.param(75, "ExitCode", False, id="a passing failure"),
        pytest.param(255, "ExitCode", False, id="the highest code"),
    ],
)
async def test_exit_code_65_says_that_trying_again_is_of_no_use(
    code: int, error_type: str, permanent: bool
) -> None:
    outcome = await run(f"echo no >&2; exit {code}")
    assert isinstance(outcome, Failure)
    assert (outcome.type, outcome.permanent, outcome.after) == (error_type, permanent, None)
    assert outcome.message == f"exit code {code}: no"


@pytest.mark.parametrize(
    ("script", "permanent"),
    [
        pytest.param("kill -9 $$", False, id="killed"),
        pytest.param("echo not json", True, id="not JSON"),
        pytest.param("head -c 2000000 /dev/zero", True, id="endless"),
    ],
)
async def test_a_result_that_cannot_be_one_is_not_tried_again_and_a_kill_is(
    script: str, permanent: bool
) -> None:
    outcome = await run(script)
    assert isinstance(outcome, Failure)
    assert outcome.permanent is permanent


async def test_only_the_end_of_standard_error_is_kept() -> None:
    outcome = await run("head -c 100000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1")
    assert isinstance(outcome, Failure)
    assert outcome.message.endswith("xend")
    assert len(outcome.message) < 1100


async def test_a_timeout_kills_the_whole_group(
    tmp_path: Path, has_ended: Callable[[int], bool]
) -> None:
    file = tmp_path / "pid"
    outcome = await run(f"sleep 60 & echo $! > {file}; wait", seconds=0.5)
    assert isinstance(outcome, Failure)
    assert outcome.type == "Timeout"
    assert not outcome.permanent
    assert has_ended(int(file.read_text()))


async def test_what_a_program_leaves_behind_is_killed_with_it() -> None:
    # It holds standard output open: without the kill the end of it would never come.
    async with asyncio.timeout(5):
        assert await run("sleep 60 & echo 1") == Success(b"1")


async def test_a_program_never_sees_the_workers_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQUEUE_CLUSTER", "c")
    assert await run("env | grep -c ^TASKQUEUE_ || true") == Success(b"0")


async def test_a_command_that_is_not_there_is_found_at_start() -> None:
    with pytest.raises(LauncherError, match="'no-such-program'"):
        async with launcher_for(["no-such-program"]):
            pass


async def test_a_command_that_goes_away_later_fails_its_task(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    async with launcher_for([str(program)]) as launcher:
        program.unlink()
        job = Job("h", b"", 5, "u", 1, "ns", "t", "q")
        outcome = await build_runner(launcher, 1, lambda *_: None).run(job)
    assert isinstance(outcome, Failure)
    assert outcome.type == "CommandNotFound"
    assert outcome.permanent
    assert os.strerror(2) in outcome.message


@pytest.mark.parametrize(
    ("error", "error_type", "permanent"),
    [
        pytest.param(StartError("no", permanent=True), "CommandNotFound", True, id="not there"),
        pytest.param(StartError("no", permanent=False), "CommandNotStarted", False, id="no room"),
        pytest.param(StartError("no"), "CommandNotStarted", False, id="no launcher"),
    ],
)
async def test_a_command_that_cannot_be_started_is_tried_again_if_that_may_pass(
    error: StartError, error_type: str, permanent: bool
) -> None:
    class Refusing:
        """A launcher that starts nothing."""

        async def launch(self, *_: Any) -> None:
            raise error

    job = Job("h", b"", 5, "u", 1, "ns", "t", "q")
    outcome = await ExecRunner(cast(Launcher, Refusing())).run(job)
    assert isinstance(outcome, Failure)
    assert (outcome.type, outcome.permanent) == (error_type, permanent)
    assert outcome.message == "the command cannot be started: no"


@pytest.mark.parametrize(
    ("script", "error_type"),
    [
        pytest.param("exit 3", "ExitCode", id="exit code"),
        pytest.param("exit 65", "Rejected", id="rejected"),
        pytest.param("sleep 60", "Timeout", id="timeout"),
        pytest.param("kill -9 $$", "Killed", id="signal"),
        pytest.param("echo not json", "ResultNotJson", id="bad result"),
    ],
)
async def test_a_failure_has_the_last_lines_of_standard_error(script: str, error_type: str) -> None:
    outcome = await run(f"seq 2000 >&2; echo last >&2; {script}", seconds=1.5)
    assert isinstance(outcome, Failure)
    assert outcome.type == error_type
    *lines, last = outcome.log.splitlines()
    assert last == "last"
    assert lines == [str(n) for n in range(2001 - len(lines), 2001)]
    assert 2000 < len(outcome.log) <= 2048


async def test_one_that_got_away_with_standard_error_holds_nothing_up(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    # Without the other two: they would be waited for, for two seconds.
    script = f"setsid sleep 60 >/dev/null & echo $! > {file}; echo bad >&2; exit 1"
    outcome = await run(script)
    assert isinstance(outcome, Failure)
    assert outcome.log == "bad"
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(file.read_text()), 9)


@pytest.mark.parametrize("step", ["connect_read_pipe", "connect_write_pipe"])
async def test_one_that_is_stopped_while_it_is_connected_leaves_no_pipe_open(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    loop = asyncio.get_running_loop()
    connect, begun = getattr(loop, step), asyncio.Event()

    async def connect_and_wait(*arguments: Any) -> Any:
        transport, _ = await connect(*arguments)
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            transport.close()

    job = Job("h", b"", 5, "u", 1, "ns", "t", "q")
    async with launcher_for(["sleep", "60"]) as launcher:
        before = open_pipes()
        monkeypatch.setattr(loop, step, connect_and_wait)
        running = asyncio.create_task(ExecRunner(launcher).run(job))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        # Those of what the program prints end with it.
        while open_pipes() != before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def open_pipes() -> set[str]:
    """Return the pipes that this process holds."""
    targets = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.add(str(link.readlink()))
    return {target for target in targets if target.startswith("pipe:")}
