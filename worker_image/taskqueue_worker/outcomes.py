"""What comes of a run: a result, or an error type with a message."""

import json
import math
import re
import sys
from dataclasses import dataclass
from typing import Any

from taskqueue_api.nesting import NESTING_MAX, is_too_deep

# Copies of taskqueue_api.task's constants: that module needs pydantic, which would cost every slot
# 15 MB. A unit test holds them together.
RESULT_MAX_BYTES = 8 * 1024
ERROR_MESSAGE_MAX = 4096
ERROR_TYPE_MAX = 256
ERROR_LOG_MAX_BYTES = 2 * 1024
PROGRESS_MESSAGE_MAX = 1024

DEADLINE_EXCEEDED = "DeadlineExceeded"

QUOTED_MAX = 200

_KEPT_CONTROLS = (ord("\n"), ord("\t"))
_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(0x20), *range(0x7F, 0xA0))
    if code not in _KEPT_CONTROLS
}


_MAYBE_BEYOND = re.compile("[0-9]{200}|[eE][+-]?[0-9]{3}")
"""What a number that a 64-bit float cannot hold has in it; its digits times its power of ten are at
least 1e308. Of whole numbers Python reads 4300 digits."""


class TooDeepError(ValueError):
    """JSON that is nested more deeply than is taken."""

    def __init__(self) -> None:
        super().__init__(
            f"it has lists or objects within each other on more than {NESTING_MAX} levels"
        )


@dataclass(frozen=True)
class Success:
    """The handler returned. result: as JSON; None when it returned None."""

    result: bytes | None


@dataclass(frozen=True)
class Failure:
    """The attempt failed.

    type: the exception's class, or one of our own words. Bounded, as is `message`.
    traceback: for the log only.
    permanent: another attempt would fail the same way.
    after: seconds until the next attempt, as the handler asks; None: by the retry policy.
    log: the last lines of what the handler printed and logged, at most 2 KiB.
    """

    type: str
    message: str
    traceback: str = ""
    permanent: bool = False
    after: float | None = None
    log: str = ""


@dataclass(frozen=True)
class Cancelled:
    """It was stopped, because its Task was cancelled, deleted, or is another worker's by now."""


Outcome = Success | Failure | Cancelled


def failure(
    error_type: str,
    message: str,
    traceback: str = "",
    *,
    permanent: bool = False,
    after: float | None = None,
) -> Failure:
    """Return a Failure within the bounds of the API, and of what JSON in UTF-8 can hold."""
    return Failure(
        type=bounded(error_type, ERROR_TYPE_MAX),
        message=bounded(message, ERROR_MESSAGE_MAX),
        traceback=traceback,
        permanent=permanent,
        after=after,
    )


def final(error_type: str, message: str) -> Failure:
    """Return a Failure that another attempt would only repeat."""
    return failure(error_type, message, permanent=True)


def bounded(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters that UTF-8 can hold; a cut shows as `…`."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def shown(text: str) -> str:
    """Return a text without control characters but line ends and tabs: what people may look at."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)


def encode_result(result: Any) -> Outcome:
    """Return what a handler returned as JSON, or the failure that it is not JSON or too big."""
    if result is None:
        return Success(None)
    try:
        text = json.dumps(
            result, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_dump_model
        )
        encoded = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        return final("ResultNotJson", f"the handler's result cannot be JSON: {error}")
    outcome = check_size(encoded)
    # Looked for first, because reading what was just written would cost every result.
    deep = encoded.count(b"[") + encoded.count(b"{") > NESTING_MAX
    if isinstance(outcome, Success) and (deep or _MAYBE_BEYOND.search(text)):
        try:
            parse_json(encoded, kept=True)
        except TooDeepError as error:
            return final("ResultTooDeep", f"the handler's result cannot be kept: {error}")
        except ValueError as error:
            return final("ResultNotJson", f"the handler's result cannot be kept: {error}")
    return outcome


def _dump_model(value: Any) -> Any:
    """Return a pydantic model as JSON can hold it; without importing pydantic for it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def decode_output(output: bytes, what: str = "standard output") -> Outcome:
    """Return what a program said as its result, or why it cannot be one. Empty: no result.

    what: where it said so, for people.
    """
    text = output.strip()
    if not text:
        return Success(None)
    try:
        value = parse_json(text, kept=True)
    except TooDeepError as error:
        return final("ResultTooDeep", f"{what} cannot be kept as result: {error}")
    except ValueError as error:
        shown = bounded(text[: 4 * QUOTED_MAX].decode("utf-8", "replace"), QUOTED_MAX)
        return final("ResultNotJson", f"{what} must be JSON or empty, but {error}: {shown}")
    return encode_result(value)


def check_size(encoded: bytes) -> Outcome:
    """Return an encoded result as success, or the failure that it is too big."""
    if len(encoded) > RESULT_MAX_BYTES:
        return final(
            "ResultTooLarge",
            f"the result has {len(encoded)} bytes as JSON; at most {RESULT_MAX_BYTES} are kept: "
            "store it elsewhere and return where",
        )
    return Success(encoded)


def parse_json(data: bytes, *, kept: bool = False) -> Any:
    """Return the value of strict JSON in UTF-8: no NaN, no Infinity, not nested too deeply.

    kept: whether it is for the API server, which refuses numbers beyond a float's. Raises
    ValueError.
    """
    try:
        text = data.decode("utf-8")
        # Called for each number, these are slow; hardly any text needs them.
        if _MAYBE_BEYOND.search(text):
            value = (_KEEPING if kept else _READING).decode(text)
        else:
            value = _PLAIN.decode(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise TooDeepError from error
    if is_too_deep(value):
        raise TooDeepError
    return value


def _read_int(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        digits = sys.get_int_max_str_digits()
        raise ValueError(f"it has a whole number of more than {digits} digits") from error


def _keep_int(text: str) -> int:
    _keep_float(text)
    return int(text)


def _keep_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("it has a number beyond 1.8e308, which can be kept as a string only")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"it is not JSON: {name} is no JSON number")


# Made once: json.loads makes one each time, and takes longer for it than for a small payload.
_PLAIN = json.JSONDecoder(parse_constant=_refuse_constant)
_READING = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_read_int)
_KEEPING = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_int=_keep_int, parse_float=_keep_float
)
