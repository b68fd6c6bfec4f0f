"""An HTTP server that answers as told, well or not, and keeps what it was asked."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Request(NamedTuple):
    """A request as it came; names of headers in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


class HttpServer:
    """Answers each request with the same bytes, or by a function; then waits for the client.

    requests: what came. arrived: one has. left: the client has closed a connection.
    """

    def __init__(self) -> None:
        self.port = 0
        self.scheme = "http"
        self.answer: bytes | Answering = b"HTTP/1.1 204 No Content\r\n\r\n"
        self.reads_bodies = True
        self.requests: list[Request] = []
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.scheme}://localhost:{self.port}/task?key=secret"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            self.requests.append(await self._read(reader))
            self.arrived.set()
            if isinstance(self.answer, bytes):
                writer.write(self.answer)
                await writer.drain()
            else:
                await self.answer(writer)
            while await reader.read(64 * 1024):
                continue
        except (OSError, EOFError):
            pass  # the client went away
        finally:
            self.left.set()
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.rstrip().split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        headers = {name.lower(): value for name, value in headers.items()}
        length = int(headers["content-length"]) if self.reads_bodies else 0
        return Request(line, headers, await reader.readexactly(length))


def response(status: int, body: bytes | str = b"", *headers: str) -> bytes:
    """Return an answer as bytes. headers: such as `Retry-After: 1`."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Any", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


@contextlib.asynccontextmanager
async def running(context: ssl.SSLContext | None = None) -> AsyncIterator[HttpServer]:
    """Give a server on loopback. context: with TLS."""
    server = HttpServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    server.scheme = "https" if context else "http"
    async with listening:
        yield server
