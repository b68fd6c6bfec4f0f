"""Whose requests the API server got for Tasks, from its audit log."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from e2e.node.paths import AUDIT_LOG

_SERVICE_ACCOUNT = "system:serviceaccount:"


class Request(NamedTuple):
    """One kind of request. who: `operator`, `worker`, or a user's name."""

    who: str
    verb: str
    resource: str


@dataclass
class Requests:
    """How many requests of each kind were made."""

    counts: Counter[Request] = field(default_factory=Counter)

    def of(self, who: str, *verbs: str) -> int:
        """Return how many of a client's requests have one of these verbs; none: any."""
        return sum(
            count
            for request, count in self.counts.items()
            if request.who == who and (not verbs or request.verb in verbs)
        )


@contextmanager
def requests_for_tasks(namespace: str) -> Iterator[Requests]:
    """Yield what holds, after the block, the finished requests for Tasks of a namespace.

    Watches that go on are not among them. The log must not be rotated meanwhile.
    """
    found = Requests()
    begun = AUDIT_LOG.stat().st_size
    yield found
    with AUDIT_LOG.open(encoding="utf-8") as log:
        log.seek(begun)
        for line in log:
            event = json.loads(line)
            target = event["objectRef"]
            if target.get("namespace") != namespace:
                continue
            parts = [target["resource"], target.get("subresource", "")]
            resource = "/".join(part for part in parts if part)
            who = _who(event["user"]["username"])
            found.counts[Request(who, event["verb"], resource)] += 1


def _who(user: str) -> str:
    if not user.startswith(_SERVICE_ACCOUNT):
        return user
    name = user.rpartition(":")[2]
    return "worker" if name.startswith("tq-") else "operator"
