"""Long runs of more Tasks, workers and faults than can be gone through in every order."""

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from taskqueue_api.retries import parse_policy
from tests.protocol.model import next_steps
from tests.protocol.play import Play
from tests.protocol.scenarios import ALL_FAULTS, ANY_END
from tests.protocol.world import Scenario

POLICIES = (
    None,
    {"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "1s"}},
    {"maxAttempts": 4, "backoff": {"type": "Exponential", "initial": "5s", "max": "1m"}},
    {"maxAttempts": 7, "backoff": {"type": "Immediate"}},
)

LARGE = Scenario(
    script=(
        "create a",
        "create b",
        "label a",
        "create c",
        "delete b",
        "create b",
        "rerun a",
        "create d",
    ),
    workers=3,
    slots=2,
    outcomes=ANY_END,
    # Not the whole queue: a Running Task of which both message and worker are lost stays so,
    # see docs/protocol.md.
    faults=ALL_FAULTS - {"queue"},
    budget=6,
    patience=40,
    notes=True,
)


class Protocol(RuleBasedStateMachine):
    """Takes any step, or lets something go wrong; in the end all must come to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.play = Play(LARGE)

    @initialize(policy=st.sampled_from(POLICIES), slots=st.integers(1, 2))
    def begin(self, policy: dict[str, object] | None, slots: int) -> None:
        self.play = Play(replace(LARGE, policy=parse_policy(policy), slots=slots))

    @rule(choices=st.lists(st.integers(0, 40), min_size=1, max_size=8))
    def go_on(self, choices: list[int]) -> None:
        for choice in choices:
            own, _ = next_steps(self.play.scenario, self.play.world)
            if own:
                self.play.take(own[choice % len(own)])

    @precondition(lambda self: self.play.world.faults > 0)
    @rule(choice=st.integers(0, 60))
    def go_wrong(self, choice: int) -> None:
        _, wrong = next_steps(self.play.scenario, self.play.world)
        if wrong:
            self.play.take(wrong[choice % len(wrong)])

    def teardown(self) -> None:
        self.play.rest()


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
