"""`http` handlers whose server is not there, breaks off, or takes too long."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.worker.http_jobs import error_of, run
from tests.worker.http_server import HttpServer

# No answer


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        port = bound.getsockname()[1]
        error = await error_of(f"http://127.0.0.1:{port}/?key=secret")
    assert (error.type, error.permanent, error.after) == ("ConnectionFailed", False, None)
    assert error.message == (f"no answer: cannot connect to 127.0.0.1:{port}: Connection refused")


async def test_the_name_of_the_host_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = await error_of("http://mailer.shop.svc/?key=secret")
    assert (error.type, error.permanent) == ("ConnectionFailed", False)
    assert error.message == (
        "no answer: cannot connect to mailer.shop.svc:80: Name or service not known"
    )


async def test_the_host_is_no_address() -> None:
    error = await error_of("http://999.1.1.1/?key=secret")
    assert (error.type, error.permanent) == ("ConnectionFailed", False)
    assert "999.1.1.1" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="before the answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="in its head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1", id="in its body"),
    ],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_the_connection_ends(server: HttpServer, said: bytes, reset: bool) -> None:
    async def end(writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        if reset:
            lingering = writer.get_extra_info("socket")
            lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()

    server.answer = end
    error = await error_of(server.url)
    assert (error.type, error.permanent) == ("ConnectionFailed", False)
    assert error.message.startswith("no answer: ")
    assert "secret" not in error.message


async def test_the_status_of_a_failure_counts_though_its_words_break_off(
    server: HttpServer,
) -> None:
    async def end(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Any\r\nContent-Length: 9\r\n\r\nbad")
        await writer.drain()
        writer.close()

    server.answer = end
    error = await error_of(server.url)
    assert (error.type, error.message) == ("Rejected", "HTTP 400: bad")


# Time, and its end


async def say_nothing(writer: asyncio.StreamWriter) -> None:
    """Leave the client waiting."""


async def drip_head(writer: asyncio.StreamWriter) -> None:
    await drip(writer, b"HTTP/1.1 100 Continue\r\n\r\n")


async def drip_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await drip(writer, b" ")


async def drip_words(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 Any\r\n\r\n")
    await drip(writer, b" ")


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "slow", [say_nothing, drip_head, drip_body, drip_words], ids=lambda item: item.__name__
)
async def test_a_timeout_ends_the_request_and_its_connection(
    server: HttpServer, slow: Callable[[asyncio.StreamWriter], Any]
) -> None:
    server.answer = slow
    error = await error_of(server.url, timeout=0.3)
    assert (error.type, error.permanent) == ("Timeout", False)
    assert error.message == "the handler ran longer than its timeout of 0.3 s"
    await server.left.wait()


async def test_what_is_cancelled_closes_its_connection(server: HttpServer) -> None:
    server.answer = say_nothing
    running_job = asyncio.create_task(run(server.url))
    await server.arrived.wait()
    running_job.cancel()
    await asyncio.wait([running_job])
    assert running_job.cancelled()
    await server.left.wait()
