"""What an autoscaler sees, and the pods that it moves."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class View(NamedTuple):
    """A queue and its workers at a moment. replicas: pods that are wanted; ready: that consume."""

    waiting: int
    running: int
    replicas: int
    ready: int

    @property
    def backlog(self) -> int:
        """Tasks that wait or run."""
        return self.waiting + self.running


@dataclass
class Pod:
    """A worker pod. running: when each of its Tasks was started, by number; in seconds."""

    number: int
    created: float
    ready: bool = False
    leaving: bool = False
    running: dict[int, float] = field(default_factory=dict)


class Autoscaler(Protocol):
    """What decides on the number of pods.

    every: seconds between its looks.
    on_change: it also looks shortly after each change.
    grace: seconds that a pod has to finish its Tasks; what still runs then is killed.
    """

    @property
    def name(self) -> str: ...
    @property
    def every(self) -> float: ...
    @property
    def on_change(self) -> bool: ...
    @property
    def grace(self) -> float: ...

    def decide(self, view: View, now: float) -> int:
        """Return the wanted pods."""
        ...

    def cost(self, pod: Pod, now: float) -> int:
        """Return what it costs to take a pod away that is ready: the cheapest go first."""
        ...


def pick_victims(pods: Iterable[Pod], number: int, autoscaler: Autoscaler, now: float) -> list[Pod]:
    """Return the pods that a ReplicaSet takes away.

    As documented for Kubernetes: those that are not ready, then by deletion cost, then the
    youngest by the doubling of their age.
    """
    staying = [pod for pod in pods if not pod.leaving]
    staying.sort(
        key=lambda pod: (
            pod.ready,
            autoscaler.cost(pod, now),
            int(now - pod.created).bit_length(),
            -pod.number,
        )
    )
    return staying[:number]
