"""Payloads that are kept in ConfigMaps and Secrets: read when their Task is about to start."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from taskqueue_api.payload_source import PayloadSource
from taskqueue_worker.api import ApiServer, Forbidden
from taskqueue_worker.deliveries import TaskMessage
from taskqueue_worker.outcomes import Failure, TooDeepError, failure, final, parse_json

FORBIDDEN_PAUSES = (0.5, 1.0, 1.5, 2.0)
"""Seconds before a refused read is made again: a Role that was changed together with the Task, or
put back by the operator, is in force a moment later."""


class Payloads:
    """Gives messages of Tasks the payload that they only name."""

    def __init__(
        self,
        api: ApiServer,
        taskqueue: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._taskqueue = taskqueue
        self._sleep = sleep

    async def fill(self, message: TaskMessage) -> TaskMessage:
        """Return a message with its payload, or with why it has none.

        Waits out an API server that is away. Raises UnauthorizedError.
        """
        source = message.headers.payload_from
        if source is None or message.bad is not None:
            return message
        found = await self._read(source, message.headers.name)
        if isinstance(found, Failure):
            return replace(message, bad=found)
        return replace(message, payload=found)

    async def _read(self, source: PayloadSource, task: str) -> bytes | Failure:
        answer = await self._api.get_source(source)
        for pause in FORBIDDEN_PAUSES:
            if not isinstance(answer, Forbidden):
                break
            await self._sleep(pause)
            # An API server that has just started knows no rights yet, and refuses everything. This
            # waits until it grants what every worker may.
            await self._api.get_task(task)
            answer = await self._api.get_source(source)
        if isinstance(answer, Forbidden):
            return explain_forbidden(source, self._taskqueue, answer.message)
        return read_value(source, answer)


def read_value(source: PayloadSource, body: Mapping[str, Any] | None) -> bytes | Failure:
    """Return the JSON that a ConfigMap or Secret holds, as it stands there, or why there is none.

    body: the object as the API server shows it; None: there is none.
    """
    if body is None:
        return _missing(f"there is no {source.kind} '{source.name}'")
    value = body.get("data", {}).get(source.key)
    if value is None and source.key in body.get("binaryData", {}):
        return final(
            "PayloadInvalid",
            f"{source} is in binaryData, and a payload is text: put it into data, as JSON",
        )
    if value is None:
        return _missing(f"{source.kind} '{source.name}' has no key '{source.key}'")
    text: bytes = base64.b64decode(value) if source.kind == "Secret" else value.encode()
    try:
        parse_json(text)
    except TooDeepError as error:
        return final("PayloadTooDeep", f"{source} cannot be a payload: {error}")
    except ValueError as error:
        return final(
            "PayloadInvalid",
            f"{source} must hold JSON, but {_fault(error)}; a plain text is JSON in double quotes",
        )
    return text


def explain_forbidden(source: PayloadSource, taskqueue: str, words: str) -> Failure:
    """Return the failure of a Task whose source its workers may not read. words: who says so."""
    field = "secrets" if source.kind == "Secret" else "configMaps"
    return final(
        "PayloadNotAllowed",
        f"workers of TaskQueue '{taskqueue}' may not read {source.kind} '{source.name}': list it "
        f"in the TaskQueue's spec.workers.payloadSources.{field}. The API server says: {words}",
    )


def _missing(what: str) -> Failure:
    # What is applied together with a Task may come a moment after it, so another attempt may do.
    return failure(
        "PayloadNotFound", f"{what}, which spec.payloadFrom names: create it in this namespace"
    )


def _fault(error: ValueError) -> str:
    """Return what is wrong with a text, and nothing of what it says: it may be secret."""
    cause = error.__cause__
    if isinstance(cause, json.JSONDecodeError):
        return f"is not JSON from line {cause.lineno}, column {cause.colno} on"
    if isinstance(cause, UnicodeDecodeError):
        return "is not text in UTF-8"
    return "has a number that cannot be read"
