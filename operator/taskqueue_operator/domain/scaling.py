"""How many worker pods a TaskQueue needs, and why.

Up at once, down only by what is known for certain and has lasted. `decide` is called whenever
something changed, and every few seconds; it is given what it said of the past the last time.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple

from taskqueue_api.conditions import MESSAGE_MAX
from taskqueue_api.durations import format_duration, parse_duration
from taskqueue_api.scaling import ScaleDownSpec, ScaleUpSpec
from taskqueue_api.taskqueue import WorkersSpec
from taskqueue_operator.domain.scaling_history import History, Observation

Reason = Literal[
    "AtMaximum",
    "AtMinimum",
    "BacklogGrew",
    "BacklogShrank",
    "BacklogUnknown",
    "Blocked",
    "CapReached",
    "Idle",
    "KeptWarm",
    "Paused",
    "Stabilizing",
    "Steady",
    "StepLimited",
]


_NOTHING = "nothing is due or running"


class Decision(NamedTuple):
    """The pods that are wanted, and why; reason and message reach the status unchanged."""

    replicas: int
    reason: Reason
    message: str


@dataclass(frozen=True)
class Pace:
    """How fast the number of pods may follow. window, period: seconds; step: None: no limit."""

    window: float
    step: int | None
    period: float


@dataclass(frozen=True)
class Policy:
    """`spec.workers.scaling`, ready for use.

    per_pod: Tasks that there may be for each pod.
    idle_seconds: how long nothing may be due or running before the last pod goes.
    """

    minimum: int
    maximum: int
    per_pod: int
    up: Pace
    down: Pace
    idle_seconds: float

    def clamp(self, pods: int) -> int:
        """Return the number within minimum and maximum."""
        return min(max(pods, self.minimum), self.maximum)


class Limit(NamedTuple):
    """How far the number of pods may go in one direction now, and what says so."""

    pods: int
    reason: Reason
    words: str


@dataclass(frozen=True)
class Case:
    """One decision to be made.

    work: Tasks and messages that are there to be done or are being done.
    need: pods for that; wanted: the same within minimum and maximum.
    base: the pods there are, or the nearest number within minimum and maximum: beyond these
        nothing but the spec decides, at once.
    """

    observation: Observation
    history: History
    policy: Policy
    now: float
    work: int
    need: int
    wanted: int
    base: int

    def bound(self, words: str) -> str:
        """Return words, with the bound of the spec that the need is beyond."""
        if self.need > self.policy.maximum:
            return f"maxReplicas is {self.policy.maximum}, {words}"
        if self.need < self.policy.minimum:
            return f"minReplicas is {self.policy.minimum}, {words}"
        return words

    def conclude(self, pods: int, reason: Reason, words: str) -> Decision:
        """Return the decision, in words that stay the same while nothing changes."""
        there = self.observation.replicas
        if pods == self.base != there:
            above = there > self.base
            reason = "AtMaximum" if above else "AtMinimum"
            words = f"{'maxReplicas' if above else 'minReplicas'} is {pods}, {_before(there)}"
        least = "" if self.observation.broker else "at least "
        head = f"a backlog of {least}{self.work} needs {_pods(self.need)}"
        return Decision(pods, reason, f"{head}; {words}"[:MESSAGE_MAX])


def read_policy(workers: WorkersSpec) -> Policy | None:
    """Return how the workers are scaled; None: they are not, and `replicas` holds."""
    scaling = workers.scaling
    if scaling is None:
        return None
    return Policy(
        minimum=scaling.min_replicas,
        maximum=scaling.max_replicas,
        per_pod=workers.concurrency * scaling.target_per_slot,
        up=_read_pace(scaling.scale_up),
        down=_read_pace(scaling.scale_down),
        idle_seconds=parse_duration(scaling.idle_before_zero).total_seconds(),
    )


def decide(
    observation: Observation, history: History, policy: Policy, now: float
) -> tuple[Decision, History]:
    """Return the wanted pods of a TaskQueue, and the history for the next call.

    now: seconds of any clock that never goes back, the same one at each call.
    """
    history = history.observe(observation, now, policy.up.period, policy.down.period)
    work = max(observation.due, history.messages or 0)
    if observation.paused:
        words = "spec.paused is true; what is not at work waits until it is false"
        return Decision(0, "Paused", words), history.forget_wanted()
    need = -(-work // policy.per_pod)  # rounds up
    wanted = policy.clamp(need)
    # What nobody counted may have needed all the pods there are.
    recorded = wanted if observation.broker else max(wanted, observation.replicas)
    history = history.want(recorded, now, policy.up.window, policy.down.window)
    base = policy.clamp(observation.replicas)
    case = Case(observation, history, policy, now, work, need, wanted, base)
    if wanted > base:
        return _raise(case), history
    if wanted < base:
        return _lower(case), history
    return _stay(case), history


def lacks_confirmation(observation: Observation, decision: Decision) -> bool:
    """Return whether pods stay only since nothing but one answer says that the queue is empty.

    Then it is worth asking by another means, and deciding again with a confirmed reading.
    """
    return (
        decision.reason == "BacklogUnknown"
        and observation.broker is not None
        and observation.broker.messages == 0
    )


def _raise(case: Case) -> Decision:
    limits = [
        Limit(
            # The first pod comes at once: without one, nothing shows how fast the work goes.
            max(case.history.lowest_wanted, 1),
            "Stabilizing",
            f"fewer were enough within the last {_text(case.policy.up.window)}",
        )
    ]
    up = case.policy.up
    if up.step is not None:
        words = f"at most {up.step} more within {_text(up.period)}"
        limits.append(Limit(case.history.fewest_pods + up.step, "StepLimited", words))
    fault = case.history.fault
    if fault:
        # Another pod would meet the same fault. Only while all that are there run, one more may
        # find out whether it is over.
        more = 1 if case.observation.ready >= case.base else 0
        words = f"no more are tried while pods cannot start: {fault.reason}: {fault.message}"
        limits.append(Limit(case.base + more, "Blocked", words))
    there = case.observation.replicas
    limit = min(limits, key=lambda one: one.pods)
    if limit.pods >= case.wanted:
        return case.conclude(case.wanted, "BacklogGrew", case.bound(_before(there)))
    return case.conclude(max(limit.pods, case.base), limit.reason, limit.words)


def _lower(case: Case) -> Decision:
    there = case.observation.replicas
    limit = max(_floors(case), key=lambda one: one.pods)
    if limit.pods > case.wanted:
        return case.conclude(min(limit.pods, case.base), limit.reason, limit.words)
    if case.wanted == 0:
        patience = case.policy.idle_seconds
        words = f"nothing was due or running for {_text(patience)}"
        return case.conclude(0, "Idle", words if patience else _NOTHING)
    return case.conclude(case.wanted, "BacklogShrank", case.bound(_before(there)))


def _floors(case: Case) -> list[Limit]:
    """Return what keeps pods; of equals the first is told."""
    history, down = case.history, case.policy.down
    floors = []
    unknown = Limit(case.base, "BacklogUnknown", f"none is taken away, since {history.doubt}")
    if not case.observation.broker:
        floors.append(unknown)
    idle = history.idle_seconds(case.now)
    if case.wanted == 0 and (idle is None or idle < case.policy.idle_seconds):
        patience = _text(case.policy.idle_seconds)
        words = f"the last pod stays until nothing was due or running for {patience}"
        floors.append(Limit(1, "KeptWarm", words))
    highest = history.highest_wanted
    words = f"{highest} were needed within the last {_text(down.window)}"
    floors.append(Limit(highest, "Stabilizing", words))
    if down.step is not None:
        # An operator that has just started does not know what went away before.
        known = history.observed_seconds(case.now) >= down.period
        least = history.most_pods - down.step if known else case.base
        words = f"at most {down.step} fewer within {_text(down.period)}"
        floors.append(Limit(least, "StepLimited", words))
    if history.doubt:
        # Told last, and asked about, once it is all that is in the way.
        floors.append(unknown)
    return floors


def _stay(case: Case) -> Decision:
    policy, fault = case.policy, case.observation.fault
    if fault and case.observation.ready < case.base:
        words = f"pods cannot start: {fault.reason}: {fault.message}"
        return case.conclude(case.base, "Blocked", words)
    if case.need > policy.maximum:
        return case.conclude(case.base, "AtMaximum", f"maxReplicas is {policy.maximum}")
    if case.need < policy.minimum:
        return case.conclude(case.base, "AtMinimum", f"minReplicas is {policy.minimum}")
    if case.base == 0:
        return case.conclude(0, "Idle", _NOTHING)
    return case.conclude(case.base, "Steady", "as many as there are")


def _before(there: int) -> str:
    return f"there {'was' if there == 1 else 'were'} {there}"


def _pods(number: int) -> str:
    return f"{number} pod" if number == 1 else f"{number} pods"


def _text(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))


def _read_pace(spec: ScaleUpSpec | ScaleDownSpec) -> Pace:
    return Pace(
        window=parse_duration(spec.stabilization).total_seconds(),
        step=spec.max_step,
        period=parse_duration(spec.period).total_seconds(),
    )
