"""What the API server's answers mean."""

import json
from contextlib import suppress
from typing import Any

from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    NamespaceTerminatingError,
    NotFoundError,
)


def unreachable(error: Exception) -> ClusterUnavailableError:
    """Return the error for an API server that gave no answer."""
    text = f"the API server cannot be reached: {type(error).__name__}: {error}"
    return ClusterUnavailableError(0, text)


def parse(text: bytes, request: str) -> dict[str, Any]:
    """Return the object that an answer is; what is none comes from something in between.

    request: for the words of the error, a ClusterUnavailableError.
    """
    with suppress(ValueError):
        answer = json.loads(text)
        if isinstance(answer, dict):
            return answer
    # Not shown: it may be half a Secret.
    raise ClusterUnavailableError(0, f"{request}: the answer is no object")


def translate(status: int, text: bytes, request: str) -> ClusterError:
    """Return the error that the API server means, with its own words."""
    try:
        answer = json.loads(text)
        message = answer["message"]
        causes = [cause.get("reason") for cause in (answer.get("details") or {}).get("causes", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        message = text[:200].decode(errors="replace")
        causes = []
    message_begins_untyped = str(message).startswith("failed to create typed patch object")
    message = f"{request}: {message} (HTTP {status})"
    if status == 404:
        return NotFoundError(status, message)
    if status in (409, 422):
        return ConflictError(status, message)
    if message_begins_untyped:
        # Said with status 500, though it is the manifest that is wrong, and stays so.
        return ClusterError(status, message)
    if status == 429 or status >= 500:
        return ClusterUnavailableError(status, message)
    if "NamespaceTerminating" in causes:
        return NamespaceTerminatingError(status, message)
    return ClusterError(status, message)
