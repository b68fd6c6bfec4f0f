"""Who may lead: what one operator reads in the Lease, and what follows from it.

Each operator goes by its own monotonic clock alone. The times in a Lease are for people: two
machines' clocks are never compared.
"""

from dataclasses import dataclass
from typing import NamedTuple

LEASE_SECONDS = 10.0
"""A Lease that is seen unchanged for so long has no holder any more."""

DEADLINE_SECONDS = 7.0
"""A holder acts no longer than this after it sent its last renewal that was taken. The others
count from when they saw that renewal, which is later: 3 s are left for clocks that run unevenly."""

RENEW_SECONDS = 2.0


class Identity(NamedTuple):
    """An operator's process.

    pod: the pod's name and UID; empty: unknown, as outside of a cluster.
    nonce: tells the processes of a pod apart.
    """

    pod: str
    nonce: str

    @property
    def holder(self) -> str:
        """How the Lease names it."""
        return f"{self.pod or 'local'}_{self.nonce}"

    def is_ours(self, holder: str) -> bool:
        """Return whether a holder is this process, or an earlier one of the same pod.

        An earlier one is dead: the kubelet starts a container only after the one before has ended.
        """
        return holder == self.holder or (bool(self.pod) and holder.rpartition("_")[0] == self.pod)


class Record(NamedTuple):
    """What the Lease says.

    version: its `resourceVersion`; empty: there is no Lease.
    holder: empty: it was released.
    seconds: how long it is good for, as its holder says.
    transitions: how often it has changed hands.
    """

    version: str
    holder: str
    seconds: float
    transitions: int


ABSENT = Record("", "", LEASE_SECONDS, 0)


@dataclass(frozen=True)
class Sighting:
    """A record, and since when it has been seen unchanged, by the own monotonic clock."""

    record: Record
    since: float


class Candidacy(NamedTuple):
    """Whether to take the Lease. wait: seconds until it can be taken, if it stays as it is."""

    take: bool
    wait: float
    reason: str


def note(before: Sighting | None, record: Record, now: float) -> Sighting:
    """Return what is known after the Lease was read. now: when the answer had come."""
    same = before is not None and before.record.version == record.version
    return before if before and same else Sighting(record, now)


def decide_candidacy(seen: Sighting, me: Identity, now: float) -> Candidacy:
    """Return whether an operator that does not lead takes the Lease, and why.

    A Lease that is not there is waited for like one that is held: somebody may have deleted it
    while an operator leads, which finds out only at its next renewal.
    """
    record = seen.record
    if record.version and not record.holder:
        return Candidacy(True, 0.0, "nobody holds it")
    if record.version and me.is_ours(record.holder):
        return Candidacy(True, 0.0, "an earlier process of this pod held it")
    patience = max(record.seconds, LEASE_SECONDS)
    wait = seen.since + patience - now
    what = f"'{record.holder}' holds it" if record.version else "there is none"
    if wait > 0:
        return Candidacy(False, wait, what)
    if record.version:
        what = f"'{record.holder}' has not renewed it for {patience:g} s"
    return Candidacy(True, 0.0, what)
