"""Whether the operator writes anything in a namespace."""

import time
from typing import Any

from e2e.api import Object
from e2e.space import Space, holds_for
from e2e.system import name_of

# A TaskQueue that has workers is looked at again each half minute.
REST_SECONDS = 35.0
SETTLED_SECONDS = 120.0
_KINDS = ("TaskQueue", "Task", "Deployment", "Role", "RoleBinding", "Secret", "Event")
_OPERATOR = "taskqueue.dev/"

State = dict[tuple[str, str], Any]


def wait_rest(space: Space) -> None:
    """Wait until the operator has written nothing for a while. Raises AssertionError if it does.

    What follows the last Task, such as the counts and the backlog, may take some seconds.
    """
    changes: list[Any] = []
    deadline = time.monotonic() + SETTLED_SECONDS
    while not _is_quiet(space, changes):
        assert time.monotonic() < deadline, changes


def _is_quiet(space: Space, changes: list[Any]) -> bool:
    before = _written(space)
    now: State = {}

    def unchanged() -> bool:
        now.clear()
        now.update(_written(space))
        return now == before

    if holds_for(unchanged, REST_SECONDS):
        return True
    differing = [key for key in before | now if before.get(key) != now.get(key)]
    changes.extend((before.get(key), now.get(key)) for key in differing)
    return False


def _written(space: Space) -> State:
    found = ((kind, one) for kind in _KINDS for one in space.system.api.list(kind, space.name))
    return {(kind, name_of(one)): seen for kind, one in found if (seen := _ours(kind, one))}


def _ours(kind: str, body: Object) -> Any:
    """Return what the operator writes of an object, and not Kubernetes itself; None: nothing."""
    metadata = body["metadata"]
    if kind == "Event":
        return body if str(body.get("reportingComponent", "")).startswith(_OPERATOR) else None
    if kind == "Deployment":  # its status is the controller's
        return metadata["generation"], metadata.get("labels"), metadata.get("annotations")
    return body
