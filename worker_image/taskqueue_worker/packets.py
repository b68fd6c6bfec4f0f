"""Jobs on their way to a slot: a packet each, which who sent it can take back as long as unread.

So several can be where the slot finds them at once, and none has to wait there behind a long one.
"""

import json
import os
import socket
from typing import Any

from taskqueue_worker.descriptors import descriptors_of, receive

_INLINE_MAX = 64 * 1024
"""A packet has to fit into the socket's buffer, 208 KiB by default."""
_NUMBER_BYTES = 32
_ANCILLARY_BYTES = socket.CMSG_SPACE(4)


class Packets:
    """The worker's end. theirs: the slot's end, of which this keeps a copy."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)

    def send(self, number: int, head: dict[str, Any], body: bytes) -> None:
        """Send a job. Raises OSError, as when the slot has more than it could read for long."""
        begin = b"%d\n%b\n" % (number, json.dumps(head).encode())
        if len(body) <= _INLINE_MAX:
            self._ours.send(begin + body)
            return
        # Beside the packet, as a file in memory.
        with os.fdopen(os.memfd_create("payload"), "wb") as file:
            file.write(body)
            file.flush()
            socket.send_fds(self._ours, [begin], [file.fileno()])

    def take_back(self) -> list[int]:
        """Return the numbers of the jobs that the slot has not read; now it never will.

        It may read some of those that are between them meanwhile.
        """
        taken: list[int] = []
        while True:
            try:
                begin, descriptors = receive(self.theirs, _NUMBER_BYTES, 1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return taken
            for descriptor in descriptors:
                os.close(descriptor)
            taken.append(int(begin.partition(b"\n")[0]))

    def close(self) -> None:
        """Close both ends; the slot reads what is there to its end."""
        self._ours.close()
        self.theirs.close()


class PacketReader:
    """The slot's end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray(2 * _INLINE_MAX)

    def read(self) -> tuple[int, dict[str, Any], bytes] | None:
        """Wait for the next job: its number, head and body; None: the worker has closed its end."""
        count, ancillary, _, _ = self._connection.recvmsg_into(
            [self._buffer], _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
        )
        if not count:
            return None
        number, head, body = bytes(memoryview(self._buffer)[:count]).split(b"\n", 2)
        for descriptor in descriptors_of(ancillary):
            with os.fdopen(descriptor, "rb") as file:
                file.seek(0)
                body = file.read()
        return int(number), json.loads(head), body
