"""What scaling goes by: what is seen now, and what is kept of what was seen before."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from taskqueue_operator.domain.peaks import Peaks

FAULT_SECONDS = 30.0
"""How long a fault counts after it was last seen: pods in a crash loop run in between."""


_NO_PEAKS = Peaks()


class Fault(NamedTuple):
    """Why pods cannot start: the pod's own reason, such as ImagePullBackOff, and its sentence."""

    reason: str
    message: str


class Reading(NamedTuple):
    """What RabbitMQ said of the work queue.

    messages: ready and unacknowledged.
    at: when, in seconds; two readings are told apart by it.
    confirmed: another means says the same. A quorum queue without a leader answers 0.
    """

    messages: int
    at: float
    confirmed: bool = False


@dataclass(frozen=True)
class Observation:
    """What is known of a TaskQueue at a moment.

    due: unfinished Tasks that may run now, waiting or running; not those that are delayed.
    broker: the last reading; None: there is none that is fresh.
    replicas: pods that the Deployment asks for; ready: pods that consume.
    busy: Tasks that run.
    fault: why pods cannot start; None: nothing says so.
    """

    due: int
    broker: Reading | None
    replicas: int
    ready: int
    busy: int
    fault: Fault | None = None
    paused: bool = False


@dataclass(frozen=True)
class History:
    """What was seen before; `History()` is that of an operator that has just started.

    since: when the first observation was made, seconds.
    readings: the last two, of different times, with nothing unknown in between.
    fault: as last seen, for as long as it counts; fault_at: when.
    idle_since: since when there has been nothing to do, as far as RabbitMQ said.
    wanted, wanted_low: pods that were wanted, within the windows of going down and up.
    pods, pods_low: pods that there were, within the periods of steps down and up.
    Those with `low` are of negated numbers.
    """

    since: float | None = None
    readings: tuple[Reading, ...] = ()
    fault: Fault | None = None
    fault_at: float = 0.0
    idle_since: float | None = None
    wanted: Peaks = _NO_PEAKS
    wanted_low: Peaks = _NO_PEAKS
    pods: Peaks = _NO_PEAKS
    pods_low: Peaks = _NO_PEAKS

    def observe(
        self, observation: Observation, now: float, up_period: float, down_period: float
    ) -> "History":
        """Return it with an observation; of the wanted pods `want` tells."""
        before = self if self.since is not None else self._start(observation.replicas, now)
        fault, fault_at = observation.fault, now
        if fault is None and self.fault and now - self.fault_at < FAULT_SECONDS:
            fault, fault_at = self.fault, self.fault_at
        reading = observation.broker
        idle = not (observation.paused or observation.due or observation.busy)
        idle = idle and reading is not None and reading.messages == 0
        started = now if self.idle_since is None else self.idle_since
        return replace(
            before,
            readings=_add_reading(self.readings, reading),
            fault=fault,
            fault_at=fault_at,
            idle_since=started if idle else None,
            pods=before.pods.push(observation.replicas, now, down_period),
            pods_low=before.pods_low.push(-observation.replicas, now, up_period),
        )

    def _start(self, replicas: int, now: float) -> "History":
        """Return the history of a start: the pods there are count as having been wanted.

        So nothing goes down before a whole window was observed, as with the HPA.
        """
        seed = _NO_PEAKS.push(replicas, now, 0)
        return replace(self, since=now, wanted=seed, wanted_low=_NO_PEAKS.push(-replicas, now, 0))

    def want(self, pods: int, now: float, up_window: float, down_window: float) -> "History":
        """Return it with the number of pods that is wanted now."""
        return replace(
            self,
            wanted=self.wanted.push(pods, now, down_window),
            wanted_low=self.wanted_low.push(-pods, now, up_window),
        )

    def forget_wanted(self) -> "History":
        """Return it as for a queue that is paused: it goes on at once, whatever was before."""
        return replace(self, wanted=_NO_PEAKS, wanted_low=_NO_PEAKS)

    @property
    def messages(self) -> int | None:
        """Messages that RabbitMQ is taken to hold; None: unknown.

        The greater of the last two readings: one that is lower may be wrong, until the next one
        or another means says the same.
        """
        if not self.readings:
            return None
        last = self.readings[-1]
        return last.messages if last.confirmed else max(one.messages for one in self.readings)

    @property
    def doubt(self) -> str | None:
        """Why the number of messages is not known well enough to take pods away; None: it is."""
        if not self.readings:
            return "RabbitMQ does not say how many messages there are"
        last = self.readings[-1]
        if last.confirmed:
            return None
        if last.messages == 0:
            return "RabbitMQ says that there are no messages, which is not confirmed"
        if len(self.readings) < 2:
            return "RabbitMQ has said only once how many messages there are"
        return None

    @property
    def highest_wanted(self) -> int:
        """The most pods that were wanted within the window of going down."""
        return self.wanted.highest

    @property
    def lowest_wanted(self) -> int:
        """The fewest pods that were wanted within the window of going up."""
        return -self.wanted_low.highest

    @property
    def most_pods(self) -> int:
        """The most pods that there were within the period of steps down."""
        return self.pods.highest

    @property
    def fewest_pods(self) -> int:
        """The fewest pods that there were within the period of steps up."""
        return -self.pods_low.highest

    def observed_seconds(self, now: float) -> float:
        """Return for how long there have been observations."""
        return 0.0 if self.since is None else now - self.since

    def idle_seconds(self, now: float) -> float | None:
        """Return for how long there has been nothing to do; None: there is, or it is unknown."""
        return None if self.idle_since is None else now - self.idle_since


def _add_reading(readings: tuple[Reading, ...], reading: Reading | None) -> tuple[Reading, ...]:
    if reading is None:
        return ()
    earlier = [one for one in readings if one.at != reading.at]
    return (*earlier[-1:], reading)
