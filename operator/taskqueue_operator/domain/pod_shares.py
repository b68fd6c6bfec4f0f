"""A cap on the worker pods of all TaskQueues, and how it is shared out."""

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.scaling import Decision


class Want(NamedTuple):
    """The pods that a TaskQueue must have (`minReplicas`), and those that it wants now."""

    minimum: int
    desired: int


def share(cap: int, wants: Mapping[QueueKey, Want]) -> dict[QueueKey, int]:
    """Return how many pods each TaskQueue gets, of at most `cap` in all.

    First the minimums, then up to what each wants. Either way one pod at a time goes to the queue
    that has the fewest; of equals to the first by namespace and name. So nobody gets less than
    another who has more than he must, unless he wants no more; and a greater cap takes nothing
    from anybody.
    """
    least = {key: min(want) for key, want in wants.items()}
    shares, left = _fill(cap, dict.fromkeys(wants, 0), least)
    shares, _ = _fill(left, shares, {key: want.desired for key, want in wants.items()})
    return shares


def apply_cap(decision: Decision, granted: int, cap: int) -> Decision:
    """Return a decision within what its TaskQueue was granted of the cap."""
    if granted >= decision.replicas:
        return decision
    return Decision(
        granted,
        "CapReached",
        f"{decision.replicas} pods are wanted; of the {cap} that the operator may run for all "
        f"TaskQueues this one has {granted}",
    )


def _fill(
    pods: int, start: Mapping[QueueKey, int], tops: Mapping[QueueKey, int]
) -> tuple[dict[QueueKey, int], int]:
    """Return the shares with pods added, up to the tops, and how many pods are left."""
    lacking = sum(tops[key] - have for key, have in start.items())
    if lacking <= pods:
        return dict(tops), pods - lacking
    shares = dict(start)
    heap = [(have, key) for key, have in start.items() if have < tops[key]]
    heapify(heap)
    for _ in range(max(pods, 0)):
        have, key = heappop(heap)
        shares[key] = have + 1
        if have + 1 < tops[key]:
            heappush(heap, (have + 1, key))
    return shares, 0
