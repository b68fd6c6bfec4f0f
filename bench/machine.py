"""What the machine's processes cost: processor time and memory, by component, from /proc."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# What stands in the command line of each, the first that fits.
_MARKS = {
    "kube-apiserver": "api_server",
    "taskqueue_operator": "operator",
    "taskqueue_worker": "worker",
    "beam.smp": "rabbitmq",
    "/server --name=default": "etcd",
}
_IN_PODS = frozenset({"operator", "worker"})
"""Outside of pods these are tests, or tools that were told of them, and none of ours."""

_POD = "kubepods"


@dataclass(frozen=True)
class Process:
    """One process. cpu: seconds, its ended children included; memory: resident bytes.

    begun: when it was started, in seconds since the machine was.
    """

    pid: int
    component: str
    command: str
    cpu: float
    memory: int
    begun: float


def component_of(command: str) -> str:
    """Return the component that a command line belongs to; `other`: none of ours."""
    return next((name for mark, name in _MARKS.items() if mark in command), "other")


def processes(proc: Path = Path("/proc")) -> Iterator[Process]:
    """Yield the machine's processes. One that ends meanwhile is left out."""
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            component = component_of(command)
            if component in _IN_PODS and _POD not in (folder / "cgroup").read_text():
                component = "other"
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name, in brackets, may hold anything.
        fields = stat[stat.rindex(")") + 2 :].split()
        ticks = sum(int(field) for field in fields[11:15])
        memory = int(fields[21]) * _PAGE
        begun = int(fields[19]) / _TICKS
        yield Process(int(folder.name), component, command, ticks / _TICKS, memory, begun)


def cpu_seconds() -> dict[str, float]:
    """Return the processor time that each component has taken so far."""
    taken: dict[str, float] = dict.fromkeys([*_MARKS.values(), "other"], 0.0)
    for process in processes():
        taken[process.component] += process.cpu
    return taken


def memory_of(component: str) -> list[Process]:
    """Return the processes of a component, those with most memory first."""
    found = [process for process in processes() if process.component == component]
    return sorted(found, key=lambda process: -process.memory)


def moment_of_start(process: Process) -> float:
    """Return when a process was started, in seconds since 1970."""
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - process.begun)


def proportional_bytes(process: Process, proc: Path = Path("/proc")) -> int:
    """Return the memory of a process, of each page its share among those that have it."""
    return _kilobytes(proc / str(process.pid) / "smaps_rollup", "Pss:") * 1024


def peak_bytes(process: Process, proc: Path = Path("/proc")) -> int:
    """Return the most that a process ever had resident."""
    return _kilobytes(proc / str(process.pid) / "status", "VmHWM:") * 1024


def _kilobytes(file: Path, key: str) -> int:
    (line,) = [line for line in file.read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1])
