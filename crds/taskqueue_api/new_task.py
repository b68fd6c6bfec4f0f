"""Tasks from a Python program: the object to create, by whatever client of the API server."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from taskqueue_api.conditions import rfc3339
from taskqueue_api.names import API_VERSION, NOT_BEFORE_MAX
from taskqueue_api.task import PAYLOAD_MAX_BYTES, TaskSpec


def new_task(
    name: str,
    queue: str,
    handler: str,
    payload: Any = None,
    *,
    namespace: str = "default",
    delay: timedelta | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    **spec: Any,
) -> dict[str, Any]:
    """Return a Task as the API server takes it.

    delay: how long it must not start: from now on, by this machine's clock, rounded up to whole
        seconds.
    spec: other fields of `.spec`, named as there, such as `priority` or `timeout`.
    Raises ValueError, in words, for a field that does not exist, one of the wrong type, a payload
    that is too large and a delay that is too long. The API server knows more rules.
    """
    fields: dict[str, Any] = {"queue": queue, "handler": handler, **spec}
    if payload is not None:
        fields["payload"] = payload
        size = len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode())
        if size > PAYLOAD_MAX_BYTES:
            raise ValueError(f"payload has {size} bytes as JSON; at most {PAYLOAD_MAX_BYTES}")
    if delay is not None:
        if "notBefore" in spec:
            raise ValueError("delay and notBefore say the same thing: give one of them")
        if not isinstance(delay, timedelta):
            raise ValueError(f"delay is {delay!r}; it must be a timedelta")
        # It is rounded up, and the API server counts from a moment later.
        if not timedelta() <= delay < NOT_BEFORE_MAX:
            must = f"it must be less than {NOT_BEFORE_MAX.days} days, and not negative"
            raise ValueError(f"delay is {delay}; {must}")
        due = now() + delay
        fields["notBefore"] = rfc3339(due + timedelta(microseconds=-due.microsecond % 1_000_000))
    known = {field.alias or name for name, field in TaskSpec.model_fields.items()}
    if unknown := sorted(fields.keys() - known):
        raise ValueError(f"unknown field spec.{unknown[0]}; there are: {', '.join(sorted(known))}")
    try:
        TaskSpec.model_validate(fields)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError("spec." + "; spec.".join(faults)) from None
    return {
        "apiVersion": API_VERSION,
        "kind": "Task",
        "metadata": {"name": name, "namespace": namespace},
        "spec": fields,
    }
