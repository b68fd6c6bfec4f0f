"""The worker's side of the launcher: start a process, hear of its end, kill it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from taskqueue_worker.cgroup import read_oom_kills
from taskqueue_worker.outcomes import Failure, failure

_MESSAGE_BYTES = 256 * 1024
_TERM_SECONDS = 2.0
"""From TERM to KILL."""

OWN_PREFIX = "TASKQUEUE_"
"""Environment variables that handlers do not get."""


class LauncherError(Exception):
    """Nothing can be run here: the module cannot be imported, or the launcher has died.

    details: innermost frames of the import's traceback, for the log.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class StartError(Exception):
    """A process could not be started; the message is the system's.

    permanent: another try would fare the same.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class Process:
    """One process, with its group. exit_code: as of subprocess: negative for a signal."""

    def __init__(self, number: int, kill: Callable[[int, int], None]) -> None:
        self._number = number
        self._kill = kill
        self.pid = 0
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        self.exited: asyncio.Future[int] = loop.create_future()

    def kill(self, number: int) -> None:
        """Signal the whole group; nothing when it has ended."""
        if not self.exited.done():
            self._kill(self._number, number)

    async def stop(self) -> None:
        """TERM, then KILL the whole group, and wait for its end."""
        self.kill(signal.SIGTERM)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TERM_SECONDS):
                    await asyncio.shield(self.exited)
        finally:
            # Also for who waits here no longer.
            self.kill(signal.SIGKILL)
        await asyncio.shield(self.exited)


class Launcher:
    """The launcher process. One instance a worker.

    handlers: after `start`, the names that the user's module registers; None: any (exec).
    dead: done, with the LauncherError, when the launcher ends unasked.
    """

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._settings = handlers
        self._link, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._child: subprocess.Popen[bytes] | None = None
        self._processes: dict[int, Process] = {}
        self._numbers = 0
        self._greeting: asyncio.Future[dict[str, Any]] | None = None
        self.handlers: frozenset[str] | None = None
        self.dead: asyncio.Future[LauncherError] | None = None
        self._oom_kills = read_oom_kills()

    @property
    def pid(self) -> int | None:
        """Its process id; None before `start`."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Start it and wait until the user's module is imported. Raises LauncherError."""
        loop = asyncio.get_running_loop()
        self._greeting = loop.create_future()
        self.dead = loop.create_future()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(OWN_PREFIX)}
        descriptor = self._theirs.fileno()
        program = [sys.executable, "-m", "taskqueue_worker.launcher", str(descriptor)]
        # Standard output is for the worker's log alone; what handlers print goes to standard
        # error, which the container runtime keeps apart: no line of ours is ever broken.
        self._child = subprocess.Popen(  # noqa: ASYNC220 - it returns within milliseconds
            [*program, json.dumps(self._settings)],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            pass_fds=[descriptor],
            env=environment,
            start_new_session=True,
        )
        self._theirs.close()
        self._link.setblocking(False)
        loop.add_reader(self._link, self._readable)
        greeting = await self._greeting
        if "failed" in greeting:
            raise LauncherError(greeting["failed"], greeting.get("traceback", ""))
        names = greeting["handlers"]
        self.handlers = None if names is None else frozenset(names)

    async def launch(
        self, descriptors: list[int], environment: dict[str, str] | None = None
    ) -> Process:
        """Start a slot or the command. Raises StartError.

        descriptors: of a slot its sockets for jobs and for answers, and what it prints to; of a
            command its standard ones.
        """
        self._numbers += 1
        process = Process(self._numbers, self._send_kill)
        request = {"do": "start", "number": self._numbers, "env": environment or {}}
        try:
            socket.send_fds(self._link, [json.dumps(request).encode()], descriptors)
        except OSError as error:
            raise StartError(f"the launcher does not listen: {error}") from error
        self._processes[self._numbers] = process
        try:
            process.pid = await process.started
        except asyncio.CancelledError:
            process.kill(signal.SIGKILL)  # it may be starting: the launcher goes by our order
            raise
        return process

    def explain_end(self, code: int) -> Failure:
        """Return the failure of an attempt whose process ended with this exit code."""
        if code >= 0:
            return failure("Exited", f"the handler's process ended: exit code {code}")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        before, self._oom_kills = self._oom_kills, read_oom_kills()
        if -code == signal.SIGKILL and self._oom_kills > before:
            return failure("OOMKilled", "the container's memory was used up: killed by SIGKILL")
        return failure("Killed", f"the handler's process was killed by {name}")

    async def close(self) -> None:
        """Kill everything that runs and end the launcher."""
        asyncio.get_running_loop().remove_reader(self._link)
        self._link.close()
        if self._child is not None:
            await asyncio.to_thread(self._child.wait)

    def _send_kill(self, number: int, signal_number: int) -> None:
        request = {"do": "kill", "number": number, "signal": signal_number}
        with contextlib.suppress(OSError):  # it has died, and its end is reported elsewhere
            self._link.send(json.dumps(request).encode())

    def _readable(self) -> None:
        while True:
            try:
                data = self._link.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            self._heard(json.loads(data))

    def _heard(self, message: dict[str, Any]) -> None:
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_result(message)
        elif "started" in message:
            started = self._processes[message["started"]].started
            if not started.done():
                started.set_result(message["pid"])
        elif "refused" in message:
            started = self._processes.pop(message["refused"]).started
            if not started.done():
                error = StartError(message["error"], permanent=message["permanent"])
                started.set_exception(error)
        elif "exited" in message:
            self._processes.pop(message["exited"]).exited.set_result(message["code"])

    def _lost(self) -> None:
        """Take note that the launcher has ended: everything it started ends with it."""
        asyncio.get_running_loop().remove_reader(self._link)
        words = "the process that starts handlers has ended unexpectedly"
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_result({"failed": words})
        for process in self._processes.values():
            if not process.started.done():
                process.started.set_exception(StartError(words))
            process.exited.set_result(-signal.SIGKILL)
        self._processes.clear()
        if self.dead is not None and not self.dead.done():
            self.dead.set_result(LauncherError(words))
