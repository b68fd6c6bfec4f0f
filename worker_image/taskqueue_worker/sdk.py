"""What handlers are written with: `@task("name")` on a function or coroutine.

@task("send_welcome")
def send_welcome(payload, ctx):
    ctx.logger.info("to %s", payload["to"])
    return {"sent": True}

Any exception is a failure, and tried again as the retry policy says; `Retry` and `Reject` say more.
"""

import inspect
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from logging import Logger
from typing import Any, TypeVar

from taskqueue_api.names import DELAY_MAX

RETRY_AFTER_MAX = DELAY_MAX.total_seconds()

_ROUNDING = 1e-6
"""Sums of fractions miss 1 by less; and 100 * 0.29 is less than 29."""

HandlerFunction = Callable[..., Any]
_F = TypeVar("_F", bound=HandlerFunction)


class Retry(Exception):  # noqa: N818 - an instruction, as StopIteration is
    """Raised by a handler to be tried again, as a failure of any other kind is too.

    after: seconds until then, or a timedelta, of at most 77 days; None: by the retry policy. It
        counts as an attempt: after the last one the Task has failed.
    """

    after: float | None = None  # here too: a subclass may not call this __init__

    def __init__(self, message: str = "", *, after: float | timedelta | None = None) -> None:
        super().__init__(message)
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None and not 0 <= seconds <= RETRY_AFTER_MAX:
            raise ValueError(f"after must be from 0 to {RETRY_AFTER_MAX:.0f} s, not {seconds}")
        self.after = None if seconds is None else float(seconds)


class Reject(Exception):  # noqa: N818 - as above
    """Raised by a handler when trying again is of no use: the Task has failed."""


class RegistrationError(Exception):
    """A handler cannot be registered; the message names the places in the code."""


def to_nobody(percent: int, message: str) -> None:
    """Drop a progress: of a Context that a handler's test has made, or that was copied."""


@dataclass(frozen=True)
class Context:
    """What a handler may know of the run it is in, and what it may say of it.

    uid: UID of the Task; with `attempt`, the key to make effects idempotent with. For a message
        of a producer outside the cluster's API its message id, or empty.
    attempt: counts from 1.
    name: of the Task; empty for a message of an outside producer.
    logger: what it is given appears in the worker's log with the Task's fields.
    reporter: takes what `progress` is given, as percent and message.
    """

    uid: str
    attempt: int
    namespace: str
    name: str
    queue: str
    logger: Logger
    reporter: Callable[[int, str], None] = field(default=to_nobody, repr=False, compare=False)

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the handler has come; shown in the Task's `status.progress`.

        fraction: from 0 to 1; shown as whole percent, rounded down, so that 100 means done.
        message: in the handler's own words; beyond 1024 characters it is cut.

        It costs next to nothing: it is sent when it differs from what was said last, and the
        worker writes at most every 2 s, the latest. It is dropped while the API server is away.
        Raises TypeError and ValueError for what cannot be meant.
        """
        if not hasattr(fraction, "__float__"):
            raise TypeError(f"progress must be a number from 0 to 1, not {fraction!r}")
        if not isinstance(message, str):
            raise TypeError(f"the message of a progress must be a text, not {message!r}")
        value = float(fraction)
        if not -_ROUNDING <= value <= 1 + _ROUNDING:  # nan too
            raise ValueError(f"progress must be from 0 to 1, not {value}")
        percent = int(100 * value + _ROUNDING)
        self.reporter(min(max(percent, 0), 100), message)


@dataclass(frozen=True)
class Handler:
    """A registered handler.

    model: the pydantic model that its payload is validated with; None: it gets plain JSON.
    where: file and line, for messages.
    """

    function: HandlerFunction
    takes_context: bool
    model: Any
    where: str


class Registry:
    """Handlers by name."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def add(self, name: str, function: HandlerFunction) -> None:
        """Register a handler. Raises RegistrationError."""
        where = _where(function)
        known = self.handlers.get(name)
        if known is not None:
            raise RegistrationError(
                f"handler '{name}' is registered twice: at {known.where} and at {where}"
            )
        parameters = _parameters(name, function, where)
        self.handlers[name] = Handler(
            function=function,
            takes_context=len(parameters) == 2,
            model=_model(name, function, parameters[0], where),
            where=where,
        )


REGISTRY = Registry()


def task(name: str) -> Callable[[_F], _F]:
    """Register a function or coroutine `(payload)` or `(payload, ctx)` as handler of Tasks.

    When the first parameter is annotated with a pydantic model, the payload is validated with it
    and a payload that does not fit fails the Task with `InvalidPayload`. What the handler returns
    is the Task's result: JSON of at most 8 KiB, or None. Raises RegistrationError.
    """
    if not isinstance(name, str) or not name:
        raise RegistrationError(f'a handler needs a name, @task("name"), not @task({name!r})')

    def register(function: _F) -> _F:
        REGISTRY.add(name, function)
        return function

    return register


def _where(function: HandlerFunction) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return repr(function)
    return f"{code.co_filename}:{code.co_firstlineno}"


def _parameters(name: str, function: HandlerFunction, where: str) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) not in (1, 2) or any(p.kind not in positional for p in parameters):
        shown = ", ".join(str(p) for p in parameters)
        raise RegistrationError(
            f"handler '{name}' at {where} must take (payload) or (payload, ctx), not ({shown}); "
            f"it is registered by task() of {__name__}"
        )
    return parameters


def _model(
    name: str, function: HandlerFunction, parameter: inspect.Parameter, where: str
) -> Any | None:
    """Return the pydantic model that a payload parameter is annotated with, if it is one."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        # `from __future__ import annotations`. Only this parameter's is resolved: others may
        # exist for type checkers only.
        shim = types.SimpleNamespace(__annotations__={"payload": annotation})
        names = getattr(inspect.unwrap(function), "__globals__", {})
        try:
            annotation = typing.get_type_hints(shim, globalns=names)["payload"]
        except NameError as error:
            raise RegistrationError(
                f"handler '{name}' at {where}: the payload's annotation cannot be read: {error}"
            ) from error
    # Who annotates with a pydantic model has imported pydantic; nobody else pays for it.
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(annotation, type):
        return None
    return annotation if issubclass(annotation, pydantic.BaseModel) else None
