"""pika's connection over a transport of the event loop, for operator and worker alike.

pika's own adapter watches the bare socket: each write first asks to hear when one is possible,
which costs a round of the loop and two system calls beside its own, and each read takes 4 KiB and
asks once more whether that was all. A transport of the loop writes what one round brought
together, and reads what there is.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

from pika.adapters import asyncio_connection
from pika.adapters.utils.nbio_interface import AbstractIOReference


class _Stream(asyncio.Protocol):
    """Passes the events of a transport on to pika, which knows no flow control.

    done: called with (transport, protocol) before any data comes: pika is not ready for it before.
    """

    def __init__(self, inner: Any, done: Callable[[tuple[Any, Any]], None]) -> None:
        self._inner = inner
        self._done = done
        self._transport: asyncio.Transport | None = None
        self.linked = False
        self.cancelled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.cancelled:
            transport.close()
            return
        self.linked = True
        self._transport = cast(asyncio.Transport, transport)  # a connection's can do both
        self._inner.connection_made(transport)
        self._done((transport, self._inner))

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool:
        self._inner.eof_received()
        # Closed, it would first have to get rid of what was written; nobody may read that.
        if self._transport is not None:
            self._transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.linked:
            self._inner.connection_lost(exc)


class _Opening(AbstractIOReference):
    """A stream that is being made, and a socket that is closed should it not come to that."""

    def __init__(
        self,
        stream: _Stream,
        sock: socket.socket,
        connecting: "asyncio.Task[Any]",
        failed: Callable[[BaseException], None],
    ) -> None:
        self._stream = stream
        self._sock = sock
        self._connecting = connecting
        self._failed = failed
        connecting.add_done_callback(self._finished)

    def cancel(self) -> bool:
        """Cancel, so that nothing is called any more; False when it is too late for that."""
        if self._stream.linked:
            return False
        self._stream.cancelled = True
        return self._connecting.cancel()

    def _finished(self, connecting: "asyncio.Task[Any]") -> None:
        if connecting.cancelled():
            self._sock.close()
        elif (error := connecting.exception()) is not None and not self._stream.cancelled:
            self._failed(error)


class _Services(asyncio_connection._AsyncioIOServicesAdapter):
    """What pika asks of the loop, with the loop's own streams."""

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        on_done: Callable[[Any], None],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> AbstractIOReference:
        """Make a stream of a connected socket; on_done gets (transport, protocol) or an error."""
        loop = self.get_native_ioloop()
        stream = _Stream(protocol_factory(), on_done)
        connecting = loop.create_task(
            loop.create_connection(
                lambda: stream,
                sock=sock,
                ssl=ssl_context,
                server_hostname=server_hostname if ssl_context else None,
            )
        )
        return _Opening(stream, sock, connecting, on_done)


class AsyncConnection(asyncio_connection.AsyncioConnection):
    """pika's AsyncioConnection on the running loop, with the same callbacks."""

    def __init__(self, parameters: Any, **callbacks: Any) -> None:
        services = _Services(asyncio.get_running_loop())
        super().__init__(parameters, custom_ioloop=services, **callbacks)
