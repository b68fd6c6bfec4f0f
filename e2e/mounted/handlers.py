"""Handlers of the scenarios, mounted into workers. `record` and the like tell the recorder."""

import json
import os
import signal
import sys
import time
import urllib.request
from typing import Any

from taskqueue_worker.sdk import Context, Reject, Retry, task

_RECORDER_SECONDS = 20


def _tell(event: str, payload: Any, ctx: Context) -> None:
    entry = {
        "event": event,
        "uid": ctx.uid,
        "attempt": ctx.attempt,
        "name": ctx.name,
        "pod": os.environ["HOSTNAME"],
        "payload": payload,
        "time": time.time(),
    }
    url = f"{os.environ['RECORDER_URL']}/{ctx.namespace}"
    request = urllib.request.Request(url, data=json.dumps(entry).encode())  # noqa: S310
    with urllib.request.urlopen(request, timeout=_RECORDER_SECONDS):  # noqa: S310 - ours
        pass


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_RECORDER_SECONDS) as answer:  # noqa: S310 - ours
        content: bytes = answer.read()
    return content


@task("record")
def record(payload: Any, ctx: Context) -> dict[str, Any]:
    """Record the run."""
    _tell("run", payload, ctx)
    return {"attempt": ctx.attempt}


@task("slow")
def slow(payload: Any, ctx: Context) -> dict[str, Any]:
    """Record the start, take {"seconds": n}, record the end."""
    _tell("start", payload, ctx)
    time.sleep(payload["seconds"])
    _tell("end", payload, ctx)
    return {"attempt": ctx.attempt}


@task("hold")
def hold(payload: Any, ctx: Context) -> dict[str, Any]:
    """Record the start, wait until the scenario lets go, record the end."""
    _tell("start", payload, ctx)
    gate = f"{os.environ['RECORDER_URL']}/{ctx.namespace}/gate"
    while not _read(gate):
        time.sleep(0.1)
    _tell("end", payload, ctx)
    return {"attempt": ctx.attempt}


@task("report")
def report(payload: Any, ctx: Context) -> dict[str, Any]:
    """Say what {"say": [[fraction, message], ...]} has, wait for the gate if {"hold": true}.

    {"failures": n}: fail so often, before waiting.
    """
    for arguments in payload["say"] if ctx.attempt == 1 else []:
        ctx.progress(*arguments)
        time.sleep(payload.get("pause", 0))
    if ctx.attempt <= payload.get("failures", 0):
        raise ConnectionError(f"attempt {ctx.attempt} fails")
    return hold(payload, ctx) if payload.get("hold") else {"attempt": ctx.attempt}


@task("gated")
def gated(payload: Any, ctx: Context) -> dict[str, Any]:
    """Record the run, and fail until the scenario lets go."""
    _tell("run", payload, ctx)
    if not _read(f"{os.environ['RECORDER_URL']}/{ctx.namespace}/gate"):
        raise ConnectionError("the gate is shut")
    return {"attempt": ctx.attempt}


@task("flaky")
def flaky(payload: Any, ctx: Context) -> dict[str, Any]:
    """Record the run, and fail as often as {"failures": n}; {"after": s}: ask to wait so long."""
    _tell("run", payload, ctx)
    if ctx.attempt > payload["failures"]:
        return {"attempt": ctx.attempt}
    if "after" in payload:
        raise Retry(f"attempt {ctx.attempt} asks for time", after=payload["after"])
    raise ConnectionError(f"attempt {ctx.attempt} fails")


@task("reject")
def reject(payload: Any, ctx: Context) -> None:
    """Record the run, and refuse the payload for good."""
    _tell("run", payload, ctx)
    raise Reject("never again")


@task("echo")
def echo(payload: Any) -> Any:
    """Return the payload."""
    return payload


@task("length")
def length(payload: str) -> int:
    """Return how long a text is."""
    return len(payload)


@task("variable")
def variable(payload: Any) -> str | None:
    """Return an environment variable."""
    return os.environ.get(payload)


@task("raise")
def fail(payload: Any) -> None:
    """Raise."""
    raise LookupError(f"no such thing: {payload}")


@task("exit")
def leave(payload: Any) -> None:
    """End the process, past all handlers of exceptions."""
    os._exit(payload)


@task("print")
def print_garbage(payload: Any) -> dict[str, Any]:
    """Write what is no text and no JSON to standard output and error, then succeed."""
    garbage = bytes(range(256)) * 64
    print("not { json", flush=True)
    os.write(1, garbage)
    os.write(2, garbage)
    sys.stderr.write("\n")
    return {"printed": payload}


@task("say")
def say(payload: Any, ctx: Context) -> dict[str, Any]:
    """Print {"lines": n} lines, log one, and end by {"end": raise, hang, kill or eat}.

    {"failures": n}: only so often.
    """
    for n in range(payload.get("lines", 1)):
        print(f"printed line {n}")
    ctx.logger.warning("logged")
    os.system("echo by a child >&2")  # noqa: S605 - as handlers do
    if ctx.attempt > payload.get("failures", 1):
        return {"attempt": ctx.attempt}
    match payload["end"]:
        case "hang":
            time.sleep(600)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        case "eat":
            eat(400)
    raise LookupError("as told")


@task("not_json")
def not_json(payload: Any) -> Any:
    """Return what JSON cannot hold."""
    return {"object": {object()}, "nan": float("nan"), "bytes": b"\xff"}[payload]


@task("big")
def big(payload: int) -> str:
    """Return a text of `payload` bytes as JSON."""
    return "x" * (payload - 2)


@task("hang")
def hang(payload: Any) -> None:
    """Do not end, and do not listen."""
    if payload == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


@task("signal")
def kill(payload: Any) -> None:
    """Be killed by a signal."""
    os.kill(os.getpid(), signal.Signals[payload])
    time.sleep(60)


@task("eat")
def eat(payload: int) -> int:
    """Use up `payload` MiB of memory."""
    return len(b"x" * (payload * 1024 * 1024))
