"""What the launcher tells the worker of a program that cannot be started."""

import errno
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from taskqueue_worker.launcher import Launcher


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def ask(ends: tuple[socket.socket, socket.socket], **environment: str) -> dict[str, Any]:
    """Return what a launcher answers that is asked to start its command."""
    ours, theirs = ends
    ours.send(json.dumps({"do": "start", "number": 7, "env": environment}).encode())
    launcher = Launcher(theirs, json.dumps({"exec": {"command": ["program"]}}), forks=False)
    try:
        assert launcher._receive()
    finally:
        os.close(launcher._wake_read)
        os.close(launcher._wake_write)
    answer: dict[str, Any] = json.loads(ours.recv(4096))
    return answer


@pytest.mark.parametrize(
    ("number", "permanent"),
    [
        pytest.param(errno.ENOENT, True, id="not there"),
        pytest.param(errno.EACCES, True, id="not executable"),
        pytest.param(errno.ENOEXEC, True, id="no program"),
        pytest.param(errno.ENOTDIR, True, id="in a folder that is a file"),
        pytest.param(errno.EAGAIN, False, id="no process left"),
        pytest.param(errno.ENOMEM, False, id="no memory left"),
        pytest.param(errno.EMFILE, False, id="no descriptor left"),
    ],
)
def test_a_refusal_says_whether_it_may_pass(
    ends: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    permanent: bool,
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("taskqueue_worker.launcher._spawn", refuse)
    assert ask(ends) == {"refused": 7, "error": os.strerror(number), "permanent": permanent}


def test_an_error_without_a_number_may_pass(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError("odd")

    monkeypatch.setattr("taskqueue_worker.launcher._spawn", refuse)
    assert ask(ends) == {"refused": 7, "error": "odd", "permanent": False}


def test_what_no_environment_can_hold_is_refused_and_the_launcher_goes_on(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    answer = ask(ends, TASK_HANDLER="a\0b")
    assert answer == {"refused": 7, "error": "embedded null byte", "permanent": True}
