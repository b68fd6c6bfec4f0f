"""What the machine's processes cost: processor time and memory, by component, from /proc."""

import os
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


@dataclass(frozen=True)
class Process:
    """One process. cpu: seconds, its ended children included; memory: resident bytes."""

    pid: int
    component: str
    command: str
    cpu: float
    memory: int


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
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name, in brackets, may hold anything.
        fields = stat[stat.rindex(")") + 2 :].split()
        ticks = sum(int(field) for field in fields[11:15])
        memory = int(fields[21]) * _PAGE
        yield Process(int(folder.name), component_of(command), command, ticks / _TICKS, memory)


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
