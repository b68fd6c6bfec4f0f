"""Programs that are PID 1 of their container end when they are stopped while they start."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("operator", "worker_image")


def entrypoint(folder: str) -> list[str]:
    """Return the command line of an image."""
    text = (ROOT / folder / "Containerfile").read_text()
    (found,) = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    command: list[str] = json.loads(found)
    return command


@pytest.mark.parametrize("folder", FOLDERS)
def test_python_starts_with_the_signal_blocked(folder: str) -> None:
    *before, python, flag, _ = entrypoint(folder)
    assert [python, flag] == ["python3", "-m"]
    show = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGTERM})"
    done = subprocess.run([*before, sys.executable, "-c", show], capture_output=True, check=True)
    assert done.stdout == b"True\n"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_signal_that_came_first_ends_it_before_it_does_anything(folder: str) -> None:
    program = f"import runpy; runpy.run_module({entrypoint(folder)[-1]!r}, run_name='__main__')"
    # It waits in this process, as it does in one that has only just been started.
    first = "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); "
    first += "os.kill(os.getpid(), signal.SIGTERM); "
    done = subprocess.run(
        [sys.executable, "-c", first + program], capture_output=True, env=os.environ, timeout=50
    )
    # Without settings it would say what is missing.
    assert (done.returncode, done.stderr) == (0, b"")
