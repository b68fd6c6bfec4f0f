"""Whether the kernel has killed something in this container for want of memory."""

from pathlib import Path

_VERSION_2 = Path("/sys/fs/cgroup/memory.events")
_VERSION_1 = Path("/sys/fs/cgroup/memory/memory.oom_control")


def parse_oom_kills(text: str) -> int | None:
    """Return the counter `oom_kill` of memory.events or memory.oom_control; None: not there."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "oom_kill" and words[1].isdigit():
            return int(words[1])
    return None


def read_oom_kills() -> int:
    """Return how many processes of this container were killed; 0 where nothing says so."""
    for path in (_VERSION_2, _VERSION_1):
        try:
            count = parse_oom_kills(path.read_text())
        except OSError:
            continue
        if count is not None:
            return count
    return 0
