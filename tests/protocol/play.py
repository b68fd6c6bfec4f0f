"""Follows one order of steps, told by their labels; for the stories that have a name."""

from collections.abc import Mapping
from typing import Any

from tests.protocol import checks
from tests.protocol.api_server import load
from tests.protocol.model import next_steps
from tests.protocol.steps import Step
from tests.protocol.world import Scenario, ViolationError, World

_STEPS_MOST = 2000


class Play:
    """A world on its way through a scenario. labels: of the steps so far."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.world: World = scenario.begin()
        self.labels: list[str] = []

    def do(self, *texts: str) -> None:
        """Take steps, the first each time whose label has this text in it."""
        for text in texts:
            own, wrong = next_steps(self.scenario, self.world)
            step = next((step for step in [*own, *wrong] if text in step.label), None)
            if step is None:
                may = "\n".join(step.label for step in [*own, *wrong])
                raise LookupError(f"no step '{text}' now; there are:\n{may}")
            self.take(step)

    def take(self, step: Step) -> None:
        """Take a step."""
        self.labels.append(step.label)
        self.world = step.do()

    def rest(self) -> None:
        """Let everything come to rest without faults, and check that it is well."""
        for _ in range(_STEPS_MOST):
            own, _ = next_steps(self.scenario, self.world)
            if not own:
                checks.at_rest(self.world)
                return
            self.take(own[0])
        raise ViolationError("it does not come to rest")

    def status(self, name: str = "a") -> Mapping[str, Any]:
        """Return a Task's status."""
        body = self.world.task(name)
        status: Mapping[str, Any] = load(body or "{}")["status"]
        return status

    def starts(self) -> list[tuple[str, int]]:
        """Return UID and attempt of all starts."""
        return sorted((start.uid, start.attempt) for start in self.world.starts)

    def runs(self) -> list[tuple[int, int]]:
        """Return run and attempt of all starts."""
        return sorted((start.run, start.attempt) for start in self.world.starts)
