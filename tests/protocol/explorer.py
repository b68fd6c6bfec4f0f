"""Goes through every order of steps of a scenario, as far as its budgets of faults go."""

from dataclasses import dataclass

from tests.protocol import checks
from tests.protocol.model import next_steps
from tests.protocol.steps import Step
from tests.protocol.world import SECOND, Scenario, ViolationError, World

LAST = 3600 * SECOND
"""Nothing in a scenario takes so long: what still goes on then goes on for ever."""


@dataclass(frozen=True)
class Found:
    """What a search found. violation: None: nothing is wrong. trace: how it comes to it."""

    states: int
    ends: int
    violation: str | None = None
    trace: tuple[str, ...] = ()


def explore(scenario: Scenario, most: int = 1_000_000) -> Found:
    """Search depth first for a violation, and return the first that is found.

    Each state is looked at once. A state that comes back on the way from itself is a circle, and
    one with nothing left to do an end: so that all orders end, and end well, is shown for all of
    them, fair or not. most: states, beyond which it is an error.
    """
    return _Search(scenario, most).run()


class _Search:
    def __init__(self, scenario: Scenario, most: int) -> None:
        self._scenario = scenario
        self._most = most
        self._seen: set[World] = set()
        self._open: set[World] = set()
        self._path: list[tuple[str, World, list[Step]]] = []
        self._ends = 0

    def run(self) -> Found:
        try:
            self._enter("", self._scenario.begin())
            while self._path:
                self._advance()
        except ViolationError as violation:
            trace = tuple(label for label, _, _ in self._path[1:])
            return Found(len(self._seen), self._ends, str(violation), trace)
        return Found(len(self._seen), self._ends)

    def _advance(self) -> None:
        _, world, steps = self._path[-1]
        if not steps:
            self._open.discard(world)
            self._path.pop()
            return
        step = steps.pop()
        try:
            after = step.do()
        except ViolationError:
            self._path.append((step.label, world, []))
            raise
        if after in self._open:
            self._path.append((step.label, after, []))
            raise ViolationError("it goes round for ever")
        if after not in self._seen:
            self._enter(step.label, after)

    def _enter(self, label: str, world: World) -> None:
        if len(self._seen) >= self._most:
            raise RuntimeError(f"more than {self._most} states")
        self._seen.add(world)
        self._open.add(world)
        own, wrong = next_steps(self._scenario, world)
        self._path.append((label, world, [*own, *wrong]))
        if world.now > LAST:
            raise ViolationError("it does not come to rest within an hour")
        if not own:
            self._ends += 1
            checks.at_rest(world)
