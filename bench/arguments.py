"""What may be given on the command lines of the benchmarks."""

import argparse
import math

_MOST = 1e9


def positive(text: str) -> float:
    """Return a number above 0. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _MOST:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and up to {_MOST:g}: '{text}'")
    return value


def count(text: str) -> int:
    """Return a whole number from 1. Raises ArgumentTypeError."""
    value = positive(text)
    if value != int(value):
        raise argparse.ArgumentTypeError(f"must be a whole number: '{text}'")
    return int(value)


def some_of(text: str, every: list[str]) -> list[str]:
    """Return the names in a list with commas, in the order of `every`. Raises ValueError."""
    names = {name.strip() for name in text.split(",")} - {""}
    if unknown := names - set(every):
        words = f"no part {', '.join(sorted(unknown))}; there are: {', '.join(every)}"
        raise ValueError(words)
    if not names:
        raise ValueError(f"no part is named; there are: {', '.join(every)}")
    return [name for name in every if name in names]
