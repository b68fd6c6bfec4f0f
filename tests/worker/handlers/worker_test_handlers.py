"""Handlers that misbehave in every way; imported by real slots in the tests."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from taskqueue_worker import Context, Reject, Retry, task


class Mail(BaseModel):
    """A payload with a shape."""

    to: str
    copies: int = 1


@task("echo")
def echo(payload: Any) -> Any:
    return payload


@task("length")
def length(payload: str) -> int:
    return len(payload)


@task("mail")
def mail(payload: Mail) -> dict[str, Any]:
    return {"to": payload.to, "copies": payload.copies}


@task("context")
async def context(payload: Any, ctx: Context) -> dict[str, Any]:
    await asyncio.sleep(0)
    ctx.logger.warning("hello %s", payload)
    return {"uid": ctx.uid, "attempt": ctx.attempt, "name": ctx.name, "queue": ctx.queue}


@task("fail")
def fail(payload: Any) -> None:
    raise KeyError(payload)


@task("exit")
def exit_now(payload: int) -> None:
    os._exit(payload)


@task("sys_exit")
def sys_exit(payload: int) -> None:
    sys.exit(payload)


@task("kill")
def kill(payload: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task("garbage")
def garbage(payload: Any) -> str:
    os.write(1, b"\x00\xff garbage without a line's end {")
    print("more garbage", file=sys.stderr)
    return "fine"


@task("big")
def big(payload: int) -> str:
    return "x" * payload


@task("not_json")
def not_json(payload: Any) -> Any:
    return {"when": object()}


@task("nan")
def nan(payload: Any) -> float:
    return float("nan")


@task("fork")
def fork(payload: Any) -> str:
    os.fork()  # and both return
    return "once"


@task("sleep_with_child")
def sleep_with_child(payload: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "60"])
    Path(payload).write_text(str(child.pid))
    time.sleep(60)


@task("say")
def say(payload: dict[str, Any], ctx: Context) -> None:
    """Print and log, then end as told."""
    print("printed", payload["text"])
    ctx.logger.warning("logged %s", payload["text"])
    sys.stderr.write("written\n")
    print("unfinished", end="")
    end = payload.get("end")
    if end == "hang":
        print()
        time.sleep(60)
    if end == "kill":
        print()
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "exit":
        sys.exit(3)
    if end:
        raise ValueError(end)


@task("flood")
def flood(payload: int) -> None:
    """Print so many lines of 100 characters."""
    for n in range(payload):
        print(f"{n:99}")
    raise ValueError("that is all")


@task("leave_printing")
def leave_printing(payload: str) -> None:
    """Leave a process behind that has got away, and holds what it prints to."""
    script = f"echo begun; until [ -e {payload}.go ]; do sleep 0.05; done; echo late; sleep 60"
    child = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    Path(payload).write_text(str(child.pid))
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


@task("progress")
def progress(payload: list[Any], ctx: Context) -> None:
    for arguments in payload:
        ctx.progress(*arguments)


@task("progress_elsewhere")
def progress_elsewhere(payload: Any, ctx: Context) -> str:
    copied: Context = pickle.loads(pickle.dumps(ctx))  # noqa: S301 - ours
    copied.progress(0.5)
    return copied.uid


@task("progress_later")
def progress_later(payload: float, ctx: Context) -> None:
    """Leave a thread behind that goes on to speak of this Task."""
    threading.Timer(payload, ctx.progress, [0.9, "of another"]).start()


@task("progress_after")
def progress_after(payload: float, ctx: Context) -> None:
    time.sleep(payload)
    ctx.progress(0.5, "of its own")


@task("retry")
def retry(payload: Any) -> None:
    raise Retry("not yet", after=payload)


@task("retry_in_a_minute")
async def retry_in_a_minute(payload: Any) -> None:
    raise Retry(after=timedelta(minutes=1))


@task("reject")
def reject(payload: Any) -> None:
    raise Reject(payload)


@task("environment")
def environment(payload: Any) -> list[str]:
    return [name for name in os.environ if name.startswith("TASKQUEUE_")]


@task("pid")
def pid(payload: Any) -> int:
    return os.getpid()


@task("note")
def note(payload: list[Any]) -> None:
    """Write a line into a file."""
    with Path(payload[0]).open("a") as file:
        file.write(f"{payload[1]}\n")


@task("await_file")
def await_file(payload: str) -> None:
    while not Path(payload).exists():
        time.sleep(0.005)


@task("log_and_report")
def log_and_report(payload: float, ctx: Context) -> None:
    ctx.logger.warning("of %s", payload)
    ctx.progress(payload)


@task("say_and_await")
def say_and_await(payload: list[str]) -> str:
    Path(payload[0]).touch()
    await_file(payload[1])
    return "third"


@task("exit_on_term")
def exit_on_term(payload: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    Path(payload).touch()
    time.sleep(60)
