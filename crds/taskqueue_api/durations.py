"""Durations as Go writes them: `30s`, `1h30m`, `250ms`."""

import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")

PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
"""What both Go's time.ParseDuration and this module accept; also valid RE2, for CEL."""

_NUMBERS = (
    rf"[0-9]{{1,{digits}}}(\.[0-9]+)?{unit}"
    for unit, digits in {"ms": 12, "s": 9, "m": 7, "h": 5}.items()
)
HOLDABLE = f"^(0*({'|'.join(_NUMBERS)}))+$"
"""Those that Go can hold, up to 292 years; of others CEL says that their type cannot be converted.
A number has few enough digits that 32 characters, which is what fields take, are 102 years at
most; one that has more is longer than any field allows."""

_WHOLE = re.compile(PATTERN)


def parse_duration(text: str) -> timedelta:
    """Return the length of a Go-style duration.

    Raises ValueError, with the text in its message, for anything else.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"must be a duration such as '30s', '5m' or '1h30m', not '{text}'")
    try:
        return timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text)))
    except OverflowError as error:
        days = timedelta.max.days
        raise ValueError(f"must be a duration of at most {days} days, not '{text}'") from error


def format_duration(length: timedelta) -> str:
    """Return a length of time as people write it: `20h`, `1h30m`, `1.5s`, `250ms`.

    Exact to the millisecond, which is what the fields of the API can hold.
    """
    milliseconds = length // timedelta(milliseconds=1)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    parts = ((minutes // 60, "h"), (minutes % 60, "m"), (rest / 1000, "s"))
    return "".join(f"{number:.15g}{unit}" for number, unit in parts if number)
