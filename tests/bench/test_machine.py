"""What processes cost, from files as the kernel writes them."""

import os
import time
from pathlib import Path

import pytest

from bench.machine import (
    Process,
    component_of,
    moment_of_start,
    peak_bytes,
    processes,
    proportional_bytes,
)


@pytest.mark.parametrize(
    ("command", "component"),
    [
        ("/cache/bin/kube-apiserver --etcd-servers=x", "api_server"),
        ("/cache/runtime/server --name=default --data-dir=x", "etcd"),
        ("python3 -m taskqueue_operator", "operator"),
        ("python3 -m taskqueue_worker.slot", "worker"),
        ("/usr/lib/erlang/bin/beam.smp -W w", "rabbitmq"),
        ("bash", "other"),
    ],
)
def test_a_command_line_tells_the_component(command: str, component: str) -> None:
    assert component_of(command) == component


def make_process(proc: Path, cgroup: str) -> None:
    """Write what the kernel says of process 7, an operator's."""
    folder = proc / "7"
    folder.mkdir()
    fields = ["S", *"1234567890", "100", "20", "3", "2", *["0"] * 4, "500", "4096", "50", "9"]
    (folder / "stat").write_text(f"7 (a) b (c) {' '.join(fields)}")
    (folder / "cmdline").write_bytes(b"python3\0-m\0taskqueue_operator\0")
    (folder / "cgroup").write_text(cgroup)
    (folder / "smaps_rollup").write_text("7f00-7fff ---p [rollup]\nRss: 90 kB\nPss: 30 kB\n")
    (folder / "status").write_text("Name: a\nVmPeak: 900 kB\nVmHWM: 200 kB\n")


def test_a_process_is_read_whatever_its_name(tmp_path: Path) -> None:
    make_process(tmp_path, "4:memory:/kubepods/burstable/pod1/2\n")
    (tmp_path / "8").mkdir()  # it ended meanwhile
    (tmp_path / "self").mkdir()
    (found,) = processes(tmp_path)
    assert (found.pid, found.component) == (7, "operator")
    assert found.cpu == 125 / os.sysconf("SC_CLK_TCK")
    assert found.memory == 50 * os.sysconf("SC_PAGE_SIZE")
    assert found.begun == 500 / os.sysconf("SC_CLK_TCK")
    assert (proportional_bytes(found, tmp_path), peak_bytes(found, tmp_path)) == (30720, 204800)


def test_what_runs_outside_of_pods_is_not_ours(tmp_path: Path) -> None:
    make_process(tmp_path, "0::/user.slice\n")
    (found,) = processes(tmp_path)
    assert found.component == "other"


def test_a_process_was_started_when_the_kernel_says() -> None:
    begun = time.clock_gettime(time.CLOCK_BOOTTIME) - 60
    process = Process(7, "worker", "python3", 0.0, 0, begun)
    assert moment_of_start(process) == pytest.approx(time.time() - 60, abs=1)
