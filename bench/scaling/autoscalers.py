"""The autoscalers that are compared."""

from dataclasses import dataclass, field

from bench.scaling.pods import Pod, View
from taskqueue_operator.domain.deletion_cost import WorkerPod, decide_cost
from taskqueue_operator.domain.scaling import Policy, decide, lacks_confirmation
from taskqueue_operator.domain.scaling_history import History, Observation, Reading
from taskqueue_operator.domain.workers import GRACE_MARGIN

SYNC_SECONDS = 15.0
"""Between two looks of the HPA: `--horizontal-pod-autoscaler-sync-period`."""

DOWN_SECONDS = 300.0
"""The HPA's default of `behavior.scaleDown.stabilizationWindowSeconds`."""

TOLERANCE = 0.1
"""The HPA's default, as a share of the wanted load."""

STEP_PODS, STEP_FACTOR = 4, 2
"""The HPA's default of `behavior.scaleUp`: the greater of the two, per 15 s."""

POLLING_SECONDS = 30.0
COOLDOWN_SECONDS = 300.0
"""KEDA's defaults, which hold from 0 to 1 and from N to 0."""

DEFAULT_GRACE_SECONDS = 30.0
"""Kubernetes' default of `terminationGracePeriodSeconds`, which KEDA does not touch."""


@dataclass
class Operator:
    """This operator: it looks at each change, and reads the broker every few seconds.

    timeout: the TaskQueue's, seconds; its pods have that and a margin to finish.
    """

    policy: Policy
    timeout: float
    name: str = "this operator"
    every: float = 5.0
    on_change: bool = True
    _history: History = field(default_factory=History)
    _reading: Reading | None = None

    @property
    def grace(self) -> float:
        """Return the grace of its pods, seconds."""
        return self.timeout + GRACE_MARGIN.total_seconds()

    def decide(self, view: View, now: float) -> int:
        """Return the wanted pods."""
        if self._reading is None or now - self._reading.at >= self.every:
            self._reading = Reading(view.backlog, now)
        decision, history = decide(self._observe(view), self._history, self.policy, now)
        if lacks_confirmation(self._observe(view), decision) and view.backlog == 0:
            self._reading = Reading(0, now, confirmed=True)
            decision, history = decide(self._observe(view), self._history, self.policy, now)
        self._history = history
        return decision.replicas

    def _observe(self, view: View) -> Observation:
        return Observation(
            due=view.backlog,
            broker=self._reading,
            replicas=view.replicas,
            ready=view.ready,
            busy=view.running,
        )

    def cost(self, pod: Pod, now: float) -> int:
        """Return the deletion cost that is set before pods go."""
        since = min(pod.running.values(), default=None)
        return decide_cost(WorkerPod(str(pod.number), len(pod.running), since), now)


@dataclass
class Hpa:
    """The HPA on an external metric, by its documented algorithm and defaults.

    The metric is taken to be exact and of this moment, and to count what runs: in its favour.
    """

    minimum: int
    maximum: int
    per_pod: int
    name: str = "HPA, external metric"
    every: float = SYNC_SECONDS
    on_change: bool = False
    grace: float = DEFAULT_GRACE_SECONDS
    _wanted: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, view: View, now: float) -> int:
        """Return the wanted pods."""
        # It scales no Deployment that is at 0; the first pods are the Deployment's own.
        current = max(view.replicas, self.minimum)
        wanted = -(-view.backlog // self.per_pod)
        if abs(view.backlog / (self.per_pod * current) - 1) <= TOLERANCE:
            wanted = current
        recent = [(at, pods) for at, pods in self._wanted if at > now - DOWN_SECONDS]
        self._wanted = [*recent, (now, wanted)]
        stable = max(min(current, max(pods for _, pods in self._wanted)), wanted)
        most = max(current + STEP_PODS, current * STEP_FACTOR)
        return min(max(min(stable, most), self.minimum), self.maximum)

    def cost(self, pod: Pod, now: float) -> int:  # noqa: ARG002 - it knows of no work
        """Return 0: nothing tells one pod from another."""
        return 0


@dataclass
class Keda:
    """KEDA: it switches between 0 and 1 itself, and leaves the rest to an HPA of at least 1."""

    maximum: int
    per_pod: int
    name: str = "KEDA"
    every: float = SYNC_SECONDS
    on_change: bool = False
    grace: float = DEFAULT_GRACE_SECONDS
    _polled: float = float("-inf")
    _active: float = float("-inf")
    _hpa: Hpa = field(init=False)

    def __post_init__(self) -> None:
        self._hpa = Hpa(1, self.maximum, self.per_pod)

    def decide(self, view: View, now: float) -> int:
        """Return the wanted pods."""
        if now - self._polled >= POLLING_SECONDS:
            self._polled = now
            if view.backlog:
                self._active = now
                if view.replicas == 0:
                    return 1
            elif view.replicas and now - self._active > COOLDOWN_SECONDS:
                return 0
        return self._hpa.decide(view, now) if view.replicas else 0

    def cost(self, pod: Pod, now: float) -> int:
        """Return 0: nothing tells one pod from another."""
        return self._hpa.cost(pod, now)
