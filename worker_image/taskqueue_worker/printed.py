"""What handlers print: copied to the pod's log as it comes, its end kept for the error."""

import asyncio
import contextlib
import os
import sys

from taskqueue_worker.outcomes import ERROR_LOG_MAX_BYTES, shown

_READ_BYTES = 64 * 1024
"""What a pipe holds."""
_CATCH_UP_READS = 16
"""What is still in the pipe takes one or two; more is of somebody who goes on writing."""
_CONTINUATIONS = bytes(range(0x80, 0xC0))


class Printed:
    """The worker's end of the pipe that a process prints to.

    Nothing waits for it: it is read whenever there is something, so that who prints is not held
    up, and until nobody holds the other end. That may be long after the process: what it has left
    behind prints to the pod's log as before.
    """

    def __init__(self, descriptor: int) -> None:
        """descriptor: of the reading end; closed here, at the end of it."""
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._open = True
        self._kept = bytearray()
        self._cut = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def forget(self) -> None:
        """Keep nothing of what was printed so far."""
        self._catch_up()
        self._kept.clear()
        self._cut = False

    def add(self, text: str) -> None:
        """Keep a line that was logged.

        It comes by another way: what was printed right after it may be kept before it.
        """
        self._catch_up()
        if self._kept and not self._kept.endswith(b"\n"):
            self._keep(b"\n")
        self._keep(text.encode("utf-8", "replace") + b"\n")

    def last_lines(self, limit: int = ERROR_LOG_MAX_BYTES) -> str:
        """Return the end of what was printed and logged. limit: bytes in UTF-8, at the most."""
        self._catch_up()
        return last_lines(bytes(self._kept), limit, cut=self._cut)

    def _catch_up(self) -> None:
        """Read what was printed already: news of the process itself comes by another way."""
        for _ in range(_CATCH_UP_READS):
            if not self._read():
                return

    def _read(self) -> bool:
        """Read what there is; False: nothing."""
        if not self._open:
            return False
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            return False
        # Whoever prints must be able to, even where nobody takes the log.
        with contextlib.suppress(OSError):
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
        self._keep(data)
        return True

    def _keep(self, data: bytes) -> None:
        self._kept += data[-ERROR_LOG_MAX_BYTES:]
        self._cut |= len(data) > ERROR_LOG_MAX_BYTES or len(self._kept) > ERROR_LOG_MAX_BYTES
        del self._kept[:-ERROR_LOG_MAX_BYTES]


def last_lines(data: bytes, limit: int, *, cut: bool) -> str:
    """Return the end of a text as people may look at it, if possible from a line's beginning.

    limit: bytes of the result in UTF-8. cut: whether there was something before `data`.
    """
    if cut:
        data = data.lstrip(_CONTINUATIONS)  # of a character that was cut in two
    encoded = shown(data.decode("utf-8", "replace")).strip("\n").encode()
    cut = cut or len(encoded) > limit
    text = encoded[-limit:].decode("utf-8", "ignore").rstrip()
    if cut:
        _, _, whole = text.partition("\n")
        text = whole or text
    return text.strip("\n")
