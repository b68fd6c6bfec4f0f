"""What anybody may put into a message, read so that it does no harm.

A message that ends its connection, or its worker, comes again, and ends the next one.
"""

from collections.abc import Mapping
from typing import Any

import pika.data

_SIZES = {b"f": 4, b"d": 8, b"T": 8}
"""Bytes of the header values that AMQP has and Python has not, by their tags."""


def read_text(value: str | bytes | None) -> str:
    """Return a short text of a message; pika leaves as bytes what is not UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def read_headers(table: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Return a header table with all its names as text."""
    return {read_text(name): value for name, value in (table or {}).items()}


def allow_odd_headers() -> None:
    """Have pika take a header for empty whose value Python cannot hold.

    NaN as a number, or a time beyond the year 9999, such as one in milliseconds: it raises an
    error for those, by which the connection ends.
    """
    decode = pika.data.decode_value

    def decode_value(encoded: bytes, offset: int) -> tuple[Any, int]:
        try:
            return decode(encoded, offset)
        except (ValueError, OverflowError, OSError):
            size = _SIZES.get(encoded[offset : offset + 1])
            if size is None:
                raise
            return None, offset + 1 + size

    pika.data.decode_value = decode_value
