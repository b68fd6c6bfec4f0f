"""The account of a soak: what became of each Task, and whether anything was started twice."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from e2e.recorder import Run
from e2e.soak.plan import NewTask

_FINISHED = {"Succeeded", "Failed", "Cancelled"}
WINDOW_SECONDS = 3.0
"""A start is written to the API server after a second, if the Task runs for so long; a write more
for what the clocks and a busy machine take."""


@dataclass(frozen=True)
class Blow:
    """A fault as it was. pods: those that it hit; empty: it hit everything.

    begun, ended: seconds since 1970; from the one to the other the harm lasted.
    """

    kind: str
    begun: float
    ended: float
    pods: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Doubled:
    """An attempt that was started twice. why: what explains it; empty: nothing does."""

    name: str
    attempt: int
    why: str


@dataclass
class Account:
    """The outcome of a soak. lost: names of Tasks that did not end, or not as intended."""

    created: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[Doubled] = field(default_factory=list)

    @property
    def outside(self) -> list[Doubled]:
        """What was started twice without an explanation."""
        return [one for one in self.doubled if not one.why]

    @property
    def good(self) -> bool:
        """Whether all that is promised held."""
        return not self.lost and not self.outside


def settle_accounts(
    tasks: Sequence[NewTask],
    phases: Mapping[str, str],
    starts: Iterable[Run],
    blows: Sequence[Blow],
) -> Account:
    """Return the account.

    phases: of each Task that is there, by name. starts: what handlers recorded at their start.
    """
    account = Account(created=len(tasks))
    ended: defaultdict[str, int] = defaultdict(int)
    for task in tasks:
        phase = phases.get(task.name, "gone")
        if phase in _FINISHED:
            ended[phase] += 1
        if phase != task.intended:
            account.lost.append(f"{task.name} ({task.handler}, {task.queue}): {phase}")
    account.ended = dict(ended)
    queues = {task.name: task.queue for task in tasks}
    groups: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
    for start in starts:
        account.attempts += 1
        groups[start.name, start.attempt].append(start)
    for (name, attempt), group in sorted(groups.items()):
        if len(group) > 1:
            # Where every start is written first, nothing explains a second one.
            why = "" if queues.get(name) == "always" else explain(group[0], blows)
            account.doubled.append(Doubled(name, attempt, why))
    return account


def explain(first: Run, blows: Iterable[Blow]) -> str:
    """Return what happened to the first start of an attempt before it can have been written."""
    for blow in blows:
        hit = not blow.pods or first.pod in blow.pods
        if hit and blow.begun <= first.time + WINDOW_SECONDS and first.time <= blow.ended:
            return f"{blow.kind} {blow.begun - first.time:+.1f} s from the start"
    return ""


def show(account: Account) -> str:
    """Return the account as a table for people, in Markdown."""
    inside = len(account.doubled) - len(account.outside)
    rows = {
        "Tasks created": account.created,
        **{phase: account.ended.get(phase, 0) for phase in sorted(_FINISHED)},
        "attempts started": account.attempts,
        "lost: not ended, or not as intended (must be 0)": len(account.lost),
        "attempts started twice, in the documented window": inside,
        "attempts started twice, outside of it (must be 0)": len(account.outside),
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {number} |" for name, number in rows.items())]
    lines += [f"lost: {one}" for one in account.lost]
    lines += [
        f"started twice: {one.name}, attempt {one.attempt}: {one.why or 'NOT EXPLAINED'}"
        for one in account.doubled
    ]
    return "\n".join(lines)
