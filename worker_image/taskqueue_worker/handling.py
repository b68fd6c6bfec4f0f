"""What runs handlers, by the kind of them: with the launcher's processes, or without any."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from taskqueue_worker.http_runner import HttpRunner, open_session
from taskqueue_worker.processes import Launcher, LauncherError
from taskqueue_worker.runners import ExecRunner, LogSink, Runner
from taskqueue_worker.settings import HandlersSettings, HttpSettings
from taskqueue_worker.slots import PythonRunner


@dataclass(frozen=True)
class Handling:
    """A runner that can be used.

    names: of the handlers that there are; None: any.
    broken: done, with the reason, when nothing can be run any more.
    """

    runner: Runner
    names: frozenset[str] | None
    broken: asyncio.Future[LauncherError]


@contextlib.asynccontextmanager
async def open_handling(
    handlers: HandlersSettings, slots: int, log: LogSink
) -> AsyncIterator[Handling]:
    """Give what runs handlers; at its end everything that still runs is killed.

    Raises LauncherError at the start.
    """
    opened = (
        _by_launcher(handlers, slots, log) if handlers.http is None else _by_http(handlers.http)
    )
    async with opened as handling:
        yield handling


@contextlib.asynccontextmanager
async def _by_http(settings: HttpSettings) -> AsyncIterator[Handling]:
    never: asyncio.Future[LauncherError] = asyncio.get_running_loop().create_future()
    async with open_session() as session:
        yield Handling(HttpRunner(settings.url, session), None, never)


@contextlib.asynccontextmanager
async def _by_launcher(
    handlers: HandlersSettings, slots: int, log: LogSink
) -> AsyncIterator[Handling]:
    launcher = Launcher(handlers.model_dump(exclude_none=True))
    try:
        await launcher.start()
        assert launcher.dead is not None  # noqa: S101 - it is started
        runner = build_runner(launcher, slots, log)
        await runner.prepare()
        try:
            yield Handling(runner, launcher.handlers, launcher.dead)
        finally:
            runner.close()
    finally:
        await launcher.close()


def build_runner(launcher: Launcher, slots: int, log: LogSink) -> Runner:
    """Return the runner for the launcher's kind of handlers, Python or exec."""
    return ExecRunner(launcher) if launcher.handlers is None else PythonRunner(launcher, slots, log)
