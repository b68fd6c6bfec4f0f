"""Descriptors that come over a socket."""

import array
import socket

_SIZE = array.array("i").itemsize


def receive(connection: socket.socket, size: int, most: int, flags: int) -> tuple[bytes, list[int]]:
    """Return a packet and what came with it, which no program that is started inherits.

    socket.recv_fds ignores its flags: https://github.com/python/cpython/issues/107898
    """
    data, ancillary, _, _ = connection.recvmsg(
        size, socket.CMSG_SPACE(most * _SIZE), flags | socket.MSG_CMSG_CLOEXEC
    )
    return data, descriptors_of(ancillary)


def descriptors_of(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors that came with a packet."""
    received = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(data[: len(data) - len(data) % _SIZE])
    return received.tolist()
