"""Liveness, readiness and metrics over HTTP.

A few lines on asyncio's streams: a web framework costs megabytes, and a probe asks one thing.
"""

import asyncio
import time
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

UNREGISTERED_SECONDS = 60.0
_READ_SECONDS = 5.0
_REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}


class Health:
    """What the probes are told. connected, consuming, draining: asked at each probe."""

    def __init__(
        self,
        *,
        connected: Callable[[], bool],
        consuming: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.draining = False
        self._connected = connected
        self._consuming = consuming
        self._monotonic = monotonic
        self._idle_since: float | None = None

    def live(self) -> bool:
        """Return whether the process is of use; that it can answer shows that the loop ticks.

        A broker that is down is waited for. Connected, but no consumer for a minute: stuck.
        """
        if self.draining or not self._connected() or self._consuming():
            self._idle_since = None
            return True
        now = self._monotonic()
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since < UNREGISTERED_SECONDS

    def ready(self) -> bool:
        """Return whether it takes Tasks."""
        return self._consuming() and not self.draining

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body for a path."""
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest()
        checks = {"/healthz": self.live, "/readyz": self.ready}
        if path not in checks:
            return 404, "text/plain", b"not found\n"
        good = checks[path]()
        return (200, "text/plain", b"ok\n") if good else (503, "text/plain", b"no\n")


async def serve_http(health: Health, port: int) -> asyncio.Server:
    """Listen on all addresses. Raises OSError."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            words = head.split(b" ", 2)
            path = words[1].decode("ascii", "replace").partition("?")[0] if len(words) > 2 else ""
            status, content_type, body = health.answer(path)
            lines = (
                f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(lines.encode() + body)
            await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            return  # a client that went away or is none
        finally:
            writer.close()

    return await asyncio.start_server(handle, port=port)
