"""Which pods a scale-down takes first: those without work, by their deletion cost.

Kubernetes takes pods that are not ready first, then those of the lowest
`controller.kubernetes.io/pod-deletion-cost`; a pod without one has 0. It asks that these are not
updated often, so they are set only when pods are about to go.
"""

from collections.abc import Iterable
from dataclasses import dataclass

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"

TASK_COST = 100
"""Of each Task that a pod runs: more than the age of any work adds, which is some tens."""


@dataclass(frozen=True)
class WorkerPod:
    """A worker pod and what it runs.

    running: Tasks.
    since: when the one that has run for longest was started, seconds; None: unknown, or it is
        idle.
    annotation: its deletion cost as it stands in the object; None: it has none.
    """

    name: str
    running: int = 0
    since: float | None = None
    annotation: str | None = None


def pick_idle(pods: Iterable[WorkerPod], now: float) -> dict[str, str]:
    """Return the deletion costs to be set, by pod; pods that have theirs are left out.

    Idle pods cost 0. Of the others, first those go that run the fewest Tasks, then those that began
    last. Ages count by their doubling, so that a pod with long work is seldom written.
    """
    costs = {pod: str(decide_cost(pod, now)) for pod in pods}
    return {pod.name: cost for pod, cost in costs.items() if cost != (pod.annotation or "0")}


def decide_cost(pod: WorkerPod, now: float) -> int:
    """Return what it costs to take a pod away, from 0."""
    if pod.running == 0:
        return 0
    seconds = 0 if pod.since is None else max(0, int(now - pod.since))
    return pod.running * TASK_COST + seconds.bit_length()
