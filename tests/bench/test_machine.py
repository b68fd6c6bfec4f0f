"""What processes cost, from files as the kernel writes them."""

import os
from pathlib import Path

import pytest

from bench.machine import component_of, processes


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


def test_a_process_is_read_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    fields = ["S", *"1234567890", "100", "20", "3", "2", *["0"] * 5, "4096", "50", "9"]
    (folder / "stat").write_text(f"7 (a) b (c) {' '.join(fields)}")
    (folder / "cmdline").write_bytes(b"python3\0-m\0taskqueue_operator\0")
    (tmp_path / "8").mkdir()  # it ended meanwhile
    (tmp_path / "self").mkdir()
    (found,) = processes(tmp_path)
    assert (found.pid, found.component) == (7, "operator")
    assert found.cpu == 125 / os.sysconf("SC_CLK_TCK")
    assert found.memory == 50 * os.sysconf("SC_PAGE_SIZE")
