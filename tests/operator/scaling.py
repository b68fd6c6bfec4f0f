"""Scaling step by step: a Deployment that does at once what is decided."""

from dataclasses import dataclass, field

from taskqueue_operator.domain.scaling import Decision, Pace, Policy, decide
from taskqueue_operator.domain.scaling_history import Fault, History, Observation, Reading

POLICY = Policy(
    minimum=0,
    maximum=10,
    per_pod=4,
    up=Pace(window=0, step=None, period=15),
    down=Pace(window=60, step=None, period=15),
    idle_seconds=300,
)
"""That of the API's defaults, with four Tasks to a pod."""

IMAGE = Fault("ImagePullBackOff", "pod 'a': no such image")
SAME = -1
"""As the number of messages: as many as there are Tasks."""


@dataclass
class Deployment:
    """What there is, and what was decided so far, with its times."""

    policy: Policy = POLICY
    replicas: int = 0
    history: History = field(default_factory=History)
    decisions: list[tuple[float, Decision]] = field(default_factory=list)

    def see(
        self,
        at: float,
        due: int = 0,
        messages: int | None = SAME,
        *,
        confirmed: bool = False,
        busy: int = 0,
        ready: int | None = None,
        fault: Fault | None = None,
        paused: bool = False,
        read_at: float | None = None,
    ) -> Decision:
        """Decide, and do it. ready: None: all pods that there are. read_at: None: now."""
        number = due if messages == SAME else messages
        read = at if read_at is None else read_at
        observation = Observation(
            due=due,
            broker=None if number is None else Reading(number, read, confirmed),
            replicas=self.replicas,
            ready=self.replicas if ready is None else ready,
            busy=busy,
            fault=fault,
            paused=paused,
        )
        decision, self.history = decide(observation, self.history, self.policy, at)
        self.decisions.append((at, decision))
        self.replicas = decision.replicas
        return decision


def settled(replicas: int, policy: Policy = POLICY) -> Deployment:
    """Return a Deployment of so many pods, all at work until now, which is second 0."""
    deployment = Deployment(policy, replicas)
    for at in (-10_000, -5, 0):
        deployment.see(at, due=replicas * policy.per_pod)
    assert deployment.replicas == replicas
    return deployment
