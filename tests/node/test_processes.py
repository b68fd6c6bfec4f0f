"""A recorded process is itself and no other: a pid that was given away again is never touched."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from e2e.node.processes import (
    Identity,
    Processes,
    end_all,
    is_ended,
    is_rooted_below,
    parse_start_ticks,
    read_identity,
)

BOOT = "6a0c0bd5-0000-4000-8000-000000000001"
STATE = Path("/var/lib/taskqueue-node")


def stat_line(
    pid: int, start: int, *, name: str = "etcd", state: str = "S", threads: int = 1
) -> str:
    before_threads = " ".join(["1"] * 16)
    return f"{pid} ({name}) {state} {before_threads} {threads} 0 {start} 1000 200"


def fake_proc(folder: Path, pid: int, start: int, *, boot: str = BOOT, state: str = "S") -> Path:
    (folder / str(pid)).mkdir(parents=True, exist_ok=True)
    (folder / str(pid) / "stat").write_text(stat_line(pid, start, state=state))
    (folder / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (folder / "sys/kernel/random/boot_id").write_text(f"{boot}\n")
    return folder


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("etcd", id="plain"),
        pytest.param("tmux: server", id="a space"),
        pytest.param("a) S 1 (b", id="parentheses"),
    ],
)
def test_start_time_is_read_whatever_the_name_of_the_program(name: str) -> None:
    assert parse_start_ticks(stat_line(7, 4711, name=name)) == 4711


def test_a_zombie_has_ended(tmp_path: Path) -> None:
    assert read_identity(7, fake_proc(tmp_path, 7, 1, state="Z")) is None


@pytest.mark.parametrize(
    ("state", "threads", "expected"),
    [
        pytest.param("S", 1, False, id="asleep"),
        pytest.param("Z", 1, True, id="a zombie"),
        pytest.param("Z", 2, False, id="a zombie whose other threads still end"),
        pytest.param("X", 0, True, id="gone"),
    ],
)
def test_a_process_has_ended_with_its_last_thread(state: str, threads: int, expected: bool) -> None:
    line = stat_line(7, 1, name="a) Z 1 (b", state=state, threads=threads)
    assert is_ended(line) is expected


# Many threads: the first of them is a zombie before the last has ended.
SLOW_TO_END = """
import socket, threading, time
server = socket.create_server(("127.0.0.1", 0))
for _ in range(50):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(server.getsockname()[1], flush=True)
time.sleep(60)
"""


def has_text(log: Path) -> bool:
    return bool(log.read_text())


def test_the_port_of_a_killed_process_is_free_once_it_is_stopped(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "pids", tmp_path / "logs")
    for n in range(8):
        name = f"server-{n}"
        processes.start(name, [sys.executable, "-c", SLOW_TO_END], os.environ)
        log = processes.log(name)
        processes.wait_until(name, partial(has_text, log), timeout_seconds=10)
        pid, port = processes.pid(name), int(log.read_text())
        assert pid is not None
        processes.stop(name, grace_seconds=0)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        finally:
            os.waitpid(pid, 0)


def test_a_pid_nobody_has_is_nobody(tmp_path: Path) -> None:
    assert read_identity(8, fake_proc(tmp_path, 7, 1)) is None


@pytest.mark.parametrize(
    ("start", "boot", "expected"),
    [
        pytest.param(100, BOOT, 7, id="the same process"),
        pytest.param(101, BOOT, None, id="recycled pid"),
        pytest.param(100, "another", None, id="same pid and time after a reboot"),
    ],
)
def test_pid_is_given_only_for_the_process_recorded(
    tmp_path: Path, start: int, boot: str, expected: int | None
) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    (pids / "etcd.json").write_text(f'{{"pid": 7, "start_ticks": 100, "boot_id": "{BOOT}"}}')
    proc = fake_proc(tmp_path / "proc", 7, start, boot=boot)
    assert Processes(pids, tmp_path / "logs", proc).pid("etcd") == expected


def test_a_recycled_pid_is_not_signalled(sleeper: "subprocess.Popen[bytes]") -> None:
    real = read_identity(sleeper.pid)
    assert real is not None
    end_all([Identity(real.pid, real.start_ticks - 1, real.boot_id)], grace_seconds=0)
    assert read_identity(sleeper.pid) == real


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "pids", tmp_path / "logs")
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    processes.start("stubborn", [sys.executable, "-c", f"{code}; time.sleep(60)"], os.environ)
    log = processes.log("stubborn")
    processes.wait_until("stubborn", lambda: log.read_text() == "1\n", timeout_seconds=5)
    pid = processes.pid("stubborn")
    assert pid is not None
    assert os.getsid(pid) == pid, "it must outlive the terminal that started it"
    processes.stop("stubborn", grace_seconds=0.2)
    assert processes.pid("stubborn") is None
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


OVERLAY = (
    "812 700 0:99 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir={upper},workdir=/w"
)


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        pytest.param(OVERLAY.format(upper=STATE / "containerd/1/fs"), True, id="our container"),
        pytest.param(OVERLAY.format(upper="/var/lib/docker/1/fs"), False, id="another engine's"),
        pytest.param(OVERLAY.format(upper=f"{STATE}-2/1/fs"), False, id="a like-named folder"),
        pytest.param(
            "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
            + OVERLAY.format(upper=STATE / "fs").replace("/ / rw", "/ /run/x rw"),
            False,
            id="a process of this machine that sees our mounts",
        ),
        pytest.param("", False, id="a kernel thread"),
    ],
)
def test_container_processes_are_known_by_their_root(mountinfo: str, expected: bool) -> None:
    assert is_rooted_below(STATE, mountinfo) is expected
