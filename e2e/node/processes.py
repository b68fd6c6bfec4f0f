"""Start, find and end the node's processes: one per component, known by pid and start time.

A pid alone says little: after a crash or a reboot it may belong to somebody else. So the start
time from /proc and the boot's id are kept with it, and only an exact match is ever signalled.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.node.console import NodeError

# Inherited by what a component starts (containerd's shims), so that they are found even where
# no pid file was written, because the starter was killed just before.
MARKER = "TASKQUEUE_NODE_COMPONENT"
_POLL_SECONDS = 0.05
_LOG_TAIL_LINES = 15
# Fields of /proc/PID/stat, counted from 1: proc(5).
_STATE_FIELD = 3
_THREADS_FIELD = 20
_START_TIME_FIELD = 22


@dataclass(frozen=True)
class Identity:
    """One process, and no later one that got the same pid."""

    pid: int
    start_ticks: int
    boot_id: str


def parse_start_ticks(stat: str) -> int:
    """Return the start time, in clock ticks since boot, from the text of /proc/PID/stat."""
    return int(_field(stat, _START_TIME_FIELD))


def is_ended(stat: str) -> bool:
    """Return whether /proc/PID/stat tells of a process that has let go of all it held.

    A zombie has ended: its parent, perhaps this very command, has only not asked for it yet. But
    the first thread of a killed process is a zombie while others still end, and until the last
    of them has, its ports stay taken.
    """
    return _field(stat, _STATE_FIELD) in {"Z", "X"} and int(_field(stat, _THREADS_FIELD)) <= 1


def _field(stat: str, number: int) -> str:
    # The command's name (field 2) is in parentheses and may hold spaces and parentheses itself.
    return stat.rpartition(")")[2].split()[number - 3]


def read_identity(pid: int, proc: Path = Path("/proc")) -> Identity | None:
    """Return who has this pid now; None: nobody, or a process that has ended already."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
        boot_id = (proc / "sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if is_ended(stat):
        return None
    return Identity(pid, parse_start_ticks(stat), boot_id)


class Processes:
    """The recorded processes of a node."""

    def __init__(self, pids: Path, logs: Path, proc: Path = Path("/proc")) -> None:
        """pids, logs: folders for NAME.json and NAME.log; made when first needed."""
        self._pids = pids
        self._logs = logs
        self._proc = proc

    def log(self, name: str) -> Path:
        """Return the log file of a component."""
        return self._logs / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """Return a component's pid; None: it is not running."""
        recorded = self._recorded(name)
        return recorded.pid if recorded else None

    def names(self) -> list[str]:
        """Return the components that were started and not taken down, running or not."""
        return sorted(path.stem for path in self._pids.glob("*.json"))

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a component in a session of its own, unless it runs already."""
        if self.pid(name):
            return
        self._pids.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            # In its own session, it outlives the `make` and the terminal that started it.
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**env, MARKER: name},
                cwd="/",
                start_new_session=True,
            )
        # It is meant to outlive this object, which would otherwise warn that it was forgotten.
        process.returncode = 0
        identity = read_identity(process.pid, self._proc)
        if identity is None:
            raise NodeError(f"{name} ended at once.\n{self.log_tail(name)}")
        partial = self._pids / f".{name}"
        partial.write_text(json.dumps(asdict(identity)))
        partial.rename(self._pids / f"{name}.json")

    def stop(self, name: str, *, grace_seconds: float = 10) -> None:
        """End a component: SIGTERM, and SIGKILL when the grace is over (0: at once)."""
        if identity := self._recorded(name):
            end_all([identity], grace_seconds=grace_seconds, proc=self._proc)
        (self._pids / f"{name}.json").unlink(missing_ok=True)

    def wait_until(
        self, name: str, is_ready: Callable[[], bool], *, timeout_seconds: float
    ) -> None:
        """Wait for a started component; NodeError with the end of its log when it fails."""
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            if self.pid(name) is None:
                raise NodeError(f"{name} ended.\n{self.log_tail(name)}")
            if time.monotonic() > deadline:
                text = f"{name} is not ready after {timeout_seconds:.0f} s."
                raise NodeError(f"{text}\n{self.log_tail(name)}")
            time.sleep(_POLL_SECONDS)

    def log_tail(self, name: str) -> str:
        """Return the last lines of a component's log, under the log's name."""
        log = self.log(name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join([f"The end of {log}:", *lines[-_LOG_TAIL_LINES:]])

    def _recorded(self, name: str) -> Identity | None:
        try:
            recorded = Identity(**json.loads((self._pids / f"{name}.json").read_text()))
        except FileNotFoundError:
            return None
        return recorded if read_identity(recorded.pid, self._proc) == recorded else None


def end_all(
    identities: Iterable[Identity], *, grace_seconds: float, proc: Path = Path("/proc")
) -> None:
    """End processes and wait until they are gone. NodeError if the kernel keeps one alive."""
    left = list(identities)
    if grace_seconds > 0:
        left = _signal_and_wait(left, signal.SIGTERM, grace_seconds, proc)
    left = _signal_and_wait(left, signal.SIGKILL, 10, proc)
    if left:
        pids = ", ".join(str(identity.pid) for identity in left)
        raise NodeError(f"Processes that do not end after SIGKILL: {pids}")


def _signal_and_wait(
    identities: list[Identity], number: signal.Signals, seconds: float, proc: Path
) -> list[Identity]:
    left = [one for one in identities if read_identity(one.pid, proc) == one]
    for one in left:
        try:
            os.kill(one.pid, number)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        left = [one for one in left if read_identity(one.pid, proc) == one]
        if left:
            time.sleep(_POLL_SECONDS)
    return left


def all_pids(proc: Path = Path("/proc")) -> Iterator[int]:
    """Yield the pids of this machine."""
    return (int(path.name) for path in proc.iterdir() if path.name.isdigit())


def marked_processes(proc: Path = Path("/proc")) -> list[Identity]:
    """Return the processes that carry the marker in their environment, whoever their parent."""
    return _select(lambda pid: f"{MARKER}=".encode() in _read(proc / str(pid) / "environ"), proc)


def container_processes(state: Path, proc: Path = Path("/proc")) -> list[Identity]:
    """Return the processes of containers whose root file system lies below the state folder.

    Found by their root mount: it holds also for orphans of a shim or a containerd killed.
    """
    return _select(
        lambda pid: is_rooted_below(
            state, _read(proc / str(pid) / "mountinfo").decode(errors="replace")
        ),
        proc,
    )


def is_rooted_below(state: Path, mountinfo: str) -> bool:
    """Return whether the mount of `/` in /proc/PID/mountinfo is an overlay kept below state."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[4:5] == ["/"] and after.startswith("overlay "):
            return f"upperdir={state}/" in after
    return False


def _select(is_wanted: Callable[[int], bool], proc: Path) -> list[Identity]:
    # The identity is read first: should the pid change hands in between, nothing is signalled.
    found = []
    for pid in all_pids(proc):
        identity = read_identity(pid, proc)
        if identity and pid != os.getpid() and is_wanted(pid):
            found.append(identity)
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone, or a kernel thread
        return b""
