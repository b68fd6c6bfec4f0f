"""pika's connection over the loop's own transports, against servers of the loopback."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPError

from taskqueue_api.amqp import AsyncConnection, _Opening, _Services
from taskqueue_api.tls import client_context
from tests.certificates import create_server_context

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Inner:
    """What a protocol of pika's hears, in order."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.transport: Any = None
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.heard.append("made")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data.decode())

    def eof_received(self) -> bool:
        self.heard.append("eof")
        return False

    def connection_lost(self, error: BaseException | None) -> None:
        self.heard.append("lost")
        self.lost.set_result(error)

    def done(self, result: Any) -> None:
        """Take the place of pika's own callback."""
        self.heard.append("error" if isinstance(result, BaseException) else "done")


async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak first, and close at once: the worst that can come between."""
    writer.write(b"hello")


async def wait_for_end(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@asynccontextmanager
async def serving(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Give the port of a server, which has ended each connection in the end."""
    ends: set[asyncio.Task[Any]] = set()
    released = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ends.add(task)
        try:
            with contextlib.suppress(OSError):
                await serve(reader, writer)
        finally:
            if released.is_set():
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
    released.set()
    for task in ends:
        task.cancel()
    await asyncio.gather(*ends, return_exceptions=True)


async def connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


def _same(inner: Inner) -> Inner:
    return inner


async def test_pika_is_ready_before_it_hears_anything() -> None:
    async with serving(greet) as port:
        inner = Inner()
        services = _Services(asyncio.get_running_loop())
        services.create_streaming_connection(lambda: inner, await connected(port), inner.done)
        assert await inner.lost is None
    assert inner.heard == ["made", "done", "hello", "eof", "lost"]


async def test_tls_checks_the_name_and_the_chain(tmp_path: Path) -> None:
    async with serving(greet, create_server_context(tmp_path)) as port:
        services = _Services(asyncio.get_running_loop())
        trusting = client_context(ca_file=str(tmp_path / "ca.crt"))
        good = Inner()
        services.create_streaming_connection(
            lambda: good, await connected(port), good.done, trusting, "127.0.0.1"
        )
        await good.lost
        assert good.heard[:3] == ["made", "done", "hello"]
        for context, name in ((trusting, "rabbit.example"), (client_context(), "127.0.0.1")):
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            refusing = Inner()
            services.create_streaming_connection(
                partial(_same, refusing),
                await connected(port),
                failed.set_result,
                context,
                name,
            )
            assert isinstance(await failed, ssl.SSLCertVerificationError)
            assert refusing.heard == []


@pytest.mark.parametrize("rounds", range(6))
async def test_a_cancelled_one_is_not_heard_of_and_its_socket_is_closed(rounds: int) -> None:
    async with serving(wait_for_end) as port:
        inner = Inner()
        services = _Services(asyncio.get_running_loop())
        sock = await connected(port)
        opening = services.create_streaming_connection(lambda: inner, sock, inner.done)
        for _ in range(rounds):
            await asyncio.sleep(0)
        assert isinstance(opening, _Opening)
        if not opening.cancel():
            assert inner.heard == ["made", "done"]
            inner.transport.abort()
            await inner.lost
            assert inner.heard == ["made", "done", "lost"]
        else:
            await asyncio.wait([opening._connecting])
            await asyncio.sleep(0)
            assert sock.fileno() == -1
            assert inner.heard == []


async def test_a_failure_is_not_told_who_has_cancelled_meanwhile(tmp_path: Path) -> None:
    async with serving(greet, create_server_context(tmp_path)) as port:
        inner = Inner()
        opening = _Services(asyncio.get_running_loop()).create_streaming_connection(
            lambda: inner, await connected(port), inner.done, client_context(), "127.0.0.1"
        )
        assert isinstance(opening, _Opening)
        # Before its own callback, which comes later.
        opening._connecting.remove_done_callback(opening._finished)
        opening._connecting.add_done_callback(lambda _: opening.cancel())
        opening._connecting.add_done_callback(opening._finished)
        await asyncio.wait([opening._connecting])
        await asyncio.sleep(0)
    assert inner.heard == []


async def read_no_more(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End one direction, and leave what comes by the other where it is."""
    writer.transport.pause_reading()  # type: ignore[attr-defined] # a socket's
    writer.write_eof()
    await asyncio.get_running_loop().create_future()


async def test_an_end_is_heard_of_at_once_whatever_was_not_sent_yet() -> None:
    async with serving(read_no_more) as port:
        inner = Inner()
        services = _Services(asyncio.get_running_loop())
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sock = await connected(port)
        services.create_streaming_connection(lambda: inner, sock, opened.set_result)
        await opened
        inner.transport.write(b"x" * 32 * 1024 * 1024)
        async with asyncio.timeout(10):
            await inner.lost
    assert inner.heard == ["made", "eof", "lost"]


async def test_a_server_that_ends_it_at_once_is_a_failure_to_open() -> None:
    async with serving(greet) as port:
        failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        AsyncConnection(
            pika.ConnectionParameters("127.0.0.1", port, connection_attempts=1),
            on_open_callback=lambda _: failed.set_exception(AssertionError("it is open")),
            on_open_error_callback=lambda _, error: failed.set_result(error),
            on_close_callback=lambda *_: None,
        )
        error = await failed
    assert isinstance(error, AMQPError)
