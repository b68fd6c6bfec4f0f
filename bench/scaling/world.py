"""A queue, its pods and an autoscaler, event by event in simulated time."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush

from bench.scaling.patterns import Arrival
from bench.scaling.pods import Autoscaler, Pod, View, pick_victims

START_SECONDS = 3.0
"""From the creation of a pod until it consumes."""

REACTION_SECONDS = 0.1
"""From a change until an autoscaler that hears of it has decided."""

TAIL_SECONDS = 900.0
"""How long pods are counted after the last Task came: what is idle costs too."""


@dataclass
class Job:
    """A Task in the simulation. starts: how often it was started."""

    number: int
    arrival: Arrival
    starts: int = 0
    wait: float | None = None


@dataclass
class Outcome:
    """What came of a run.

    jobs: as they ended; their `wait` is from the arrival to the end, less what it takes to run.
    pod_seconds: of all pods, from their creation until they are gone.
    replicas: the wanted pods, each time they changed.
    killed: Tasks that were running when the grace of their pod had passed.
    """

    jobs: list[Job]
    pod_seconds: float = 0.0
    replicas: list[int] = field(default_factory=lambda: [0])
    killed: int = 0


class World:
    """One run of one autoscaler; `run` may be called once."""

    def __init__(
        self, arrivals: Sequence[Arrival], autoscaler: Autoscaler, concurrency: int
    ) -> None:
        self._autoscaler = autoscaler
        self._concurrency = concurrency
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._waiting: deque[Job] = deque()
        self._pods: list[Pod] = []
        self._created = 0
        self._running = 0
        self._look_due = False
        self._now = 0.0
        self._outcome = Outcome([Job(n, arrival) for n, arrival in enumerate(arrivals)])
        self._end = (arrivals[-1].at if arrivals else 0.0) + TAIL_SECONDS
        self._left = len(arrivals)
        for job in self._outcome.jobs:
            self._at(job.arrival.at, partial(self._arrive, job))

    def run(self) -> Outcome:
        """Return what comes of it, when all Tasks have ended and the tail has passed."""
        self._tick()
        while self._events and (self._left or self._events[0][0] <= self._end):
            self._now, _, event = heappop(self._events)
            event()
        self._end = max(self._end, self._now)
        for pod in self._pods:
            self._outcome.pod_seconds += self._end - pod.created
        return self._outcome

    def _at(self, when: float, event: Callable[[], None]) -> None:
        # The sequence makes events of the same moment come in the order they were made.
        self._sequence += 1
        heappush(self._events, (when, self._sequence, event))

    def _tick(self) -> None:
        self._look()
        self._at(self._now + self._autoscaler.every, self._tick)

    def _changed(self) -> None:
        if self._autoscaler.on_change and not self._look_due:
            self._look_due = True
            self._at(self._now + REACTION_SECONDS, self._look)

    def _look(self) -> None:
        self._look_due = False
        replicas = self._outcome.replicas[-1]
        ready = sum(pod.ready and not pod.leaving for pod in self._pods)
        view = View(len(self._waiting), self._running, replicas, ready)
        wanted = self._autoscaler.decide(view, self._now)
        if wanted == replicas:
            return
        self._outcome.replicas.append(wanted)
        for _ in range(wanted - replicas):
            self._create()
        if wanted < replicas:
            for pod in pick_victims(self._pods, replicas - wanted, self._autoscaler, self._now):
                self._drain(pod)

    def _create(self) -> None:
        pod = Pod(self._created, self._now)
        self._created += 1
        self._pods.append(pod)
        self._at(self._now + START_SECONDS, partial(self._become_ready, pod))

    def _become_ready(self, pod: Pod) -> None:
        if not pod.leaving:
            pod.ready = True
            self._hand_out()
            self._changed()

    def _drain(self, pod: Pod) -> None:
        pod.leaving = True
        if pod.running:
            self._at(self._now + self._autoscaler.grace, partial(self._kill, pod))
        else:
            self._remove(pod)

    def _kill(self, pod: Pod) -> None:
        if pod not in self._pods:
            return
        for number in reversed(pod.running):
            # RabbitMQ puts what was not acknowledged back to where it was.
            self._waiting.appendleft(self._outcome.jobs[number])
        self._outcome.killed += len(pod.running)
        self._running -= len(pod.running)
        pod.running.clear()
        self._remove(pod)
        self._hand_out()
        self._changed()

    def _remove(self, pod: Pod) -> None:
        self._pods.remove(pod)
        self._outcome.pod_seconds += self._now - pod.created

    def _arrive(self, job: Job) -> None:
        self._waiting.append(job)
        self._hand_out()
        self._changed()

    def _hand_out(self) -> None:
        while self._waiting:
            free = [
                pod
                for pod in self._pods
                if pod.ready and not pod.leaving and len(pod.running) < self._concurrency
            ]
            if not free:
                return
            self._start(min(free, key=lambda pod: len(pod.running)), self._waiting.popleft())

    def _start(self, pod: Pod, job: Job) -> None:
        job.starts += 1
        self._running += 1
        pod.running[job.number] = self._now
        self._at(self._now + job.arrival.seconds, partial(self._finish, pod, job, job.starts))

    def _finish(self, pod: Pod, job: Job, start: int) -> None:
        if job.starts != start or job.number not in pod.running:
            return  # it was killed before
        del pod.running[job.number]
        self._running -= 1
        self._left -= 1
        job.wait = self._now - job.arrival.at - job.arrival.seconds
        if pod.leaving and not pod.running:
            self._remove(pod)
        self._hand_out()
        self._changed()
