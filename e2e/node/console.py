"""What the commands say: one line per step, with the time since the command began."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_STARTED = time.monotonic()
_OUTPUT_TAIL_LINES = 20


class NodeError(Exception):
    """A failure that a person can act on; its text says what is missing and how to get it."""


def say(text: str) -> None:
    """Print one progress line, such as `[ 12s] kube-apiserver is ready`."""
    print(f"[{time.monotonic() - _STARTED:3.0f}s] {text}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say that a long step begins and, if it took more than two seconds, how long it took."""
    say(f"{text} ...")
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    if took > 2:
        say(f"{text}: done in {took:.0f} s")


def system_path() -> str:
    """Return the caller's PATH with the folders of system programs added.

    They are missing from it after `su`, and there lie nft and ip.
    """
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    hint: str = "",
) -> str:
    """Run a command to its end and return its standard output.

    hint: what the person can do about a failure. Raises NodeError with the end of the output.
    """
    command = [str(part) for part in argv]
    env = {**(env or os.environ), "PATH": system_path()}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise NodeError(f"{command[0]} is not installed. {hint}".strip()) from error
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-_OUTPUT_TAIL_LINES:]
        shown = " ".join(command[:6]) + (" ..." if len(command) > 6 else "")
        raise NodeError("\n".join([f"`{shown}` failed ({done.returncode}):", *lines, hint]).strip())
    return done.stdout


def is_successful(argv: Sequence[str | Path]) -> bool:
    """Return whether a command exists and ends with status 0; its output is dropped."""
    env = os.environ | {"PATH": system_path()}
    try:
        done = subprocess.run(list(map(str, argv)), env=env, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0
