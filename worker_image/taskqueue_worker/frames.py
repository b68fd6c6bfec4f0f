"""Frames between the worker and a slot: a head as JSON and a raw body, each behind its length."""

import json
import struct
from typing import Any

_LENGTHS = struct.Struct("!II")
LARGEST = 32 * 1024 * 1024
"""Twice RabbitMQ's largest message; a length beyond it means that the stream is broken."""


class BrokenStreamError(Exception):
    """The other side sent what is no frame."""


def pack(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Return a frame as bytes."""
    encoded = json.dumps(head).encode()
    return _LENGTHS.pack(len(encoded), len(body)) + encoded + body


class FrameBuffer:
    """Bytes as they arrive; frames as they are complete."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[dict[str, Any], bytes]]:
        """Return the frames that these bytes complete. Raises BrokenStreamError."""
        self._data += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> tuple[dict[str, Any], bytes] | None:
        if len(self._data) < _LENGTHS.size:
            return None
        head_size, body_size = _LENGTHS.unpack_from(self._data)
        if head_size > LARGEST or body_size > LARGEST:
            raise BrokenStreamError(f"a frame of {head_size} + {body_size} bytes")
        end = _LENGTHS.size + head_size + body_size
        if len(self._data) < end:
            return None
        middle = _LENGTHS.size + head_size
        head = json.loads(self._data[_LENGTHS.size : middle])
        body = bytes(self._data[middle:end])
        del self._data[:end]
        return head, body
