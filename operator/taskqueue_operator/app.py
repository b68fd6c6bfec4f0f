"""Puts the operator together, runs it, and stops it cleanly."""

import asyncio
import logging
import os
import signal
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import kopf

from taskqueue_api.names import GROUP, TASKQUEUES, TASKS
from taskqueue_operator import memory, metrics, web
from taskqueue_operator.assembly import Services, build
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.leadership import Identity
from taskqueue_operator.errors import OperatorError
from taskqueue_operator.handlers import settings as kopf_settings
from taskqueue_operator.handlers import shards
from taskqueue_operator.handlers import taskqueues as taskqueue_handlers
from taskqueue_operator.handlers import tasks as task_handlers
from taskqueue_operator.services.definitions import Definitions
from taskqueue_operator.services.dispatcher import Dispatcher
from taskqueue_operator.services.lease import Lease, LeaseName
from taskqueue_operator.settings import Settings

DISPATCHED_THROUGH_SECONDS = 30.0
STOP_SECONDS = 5.0
LOST_EXIT_CODE = 3

logger = logging.getLogger(__name__)


@dataclass
class Process:
    """What there is of an operator before it leads, and what its web server tells.

    stop: set when it is to end.
    dead, missing, ready: as the web server asks for them.
    keeping: renews the Lease while this operator leads.
    """

    cluster: ClusterClient
    lease: Lease
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    dead: web.Faults = list
    missing: web.Faults = list
    ready: Callable[[], bool] = lambda: False
    keeping: "asyncio.Task[None] | None" = None

    def missing_faults(self) -> list[str]:
        """Return what it waits for, one sentence each."""
        return [*self.lease.faults(), *self.missing()]

    async def give_up_lease(self) -> None:
        """Let another operator lead. From then on nothing is published or written here."""
        if self.keeping is not None:
            self.keeping.cancel()
        await self.lease.release()


async def run(settings: Settings) -> None:
    """Wait until this operator is to lead, and lead until SIGTERM. Raises OperatorError."""
    cluster = await ClusterClient.connect(watches=max(1, len(settings.watch_namespaces)))
    lease = _build_lease(cluster, settings)
    cluster.may_write = lease.leads
    process = Process(cluster, lease)
    # A standby is ready: a rollout must not wait for it to lead, and it could at any time.
    process.ready = lambda: not lease.faults()
    _on_signals(process.stop.set)
    server = await web.serve(
        lambda: process.dead(), process.missing_faults, lambda: process.ready()
    )
    try:
        if await lease.acquire(process.stop):
            # Started before Kopf, which at its end cancels every task that is younger than itself.
            process.keeping = asyncio.create_task(lease.keep(), name="lease keeper")
            process.keeping.add_done_callback(end_at_once)
            await _lead(settings, process)
    finally:
        await process.give_up_lease()
        await server.cleanup()
        await cluster.close()
    logger.info("the operator has stopped")


def _build_lease(cluster: ClusterClient, settings: Settings) -> Lease:
    pod = f"{settings.pod_name}_{settings.pod_uid}" if settings.pod_uid else ""
    me = Identity(pod, uuid.uuid4().hex[:8])
    lease = Lease(cluster, LeaseName(settings.lease_namespace, settings.lease), me)
    metrics.LEADER.set_function(lambda: float(lease.leads()))
    return lease


def end_at_once(keeping: "asyncio.Task[None]") -> None:
    """End the process when the Lease is lost: no fence is simpler.

    Whatever waits here to be sent is not sent. The next operator cannot be sure of it anyway.
    """
    if keeping.cancelled():
        return
    logger.critical("ending at once: the Lease is lost: %s", keeping.exception())
    logging.shutdown()
    os._exit(LOST_EXIT_CODE)


async def _lead(settings: Settings, process: Process) -> None:
    services = await build(settings, process.cluster, process.lease)
    try:
        await _run(settings, process, services)
    finally:
        services.dispatcher.freeze()
        await services.brokers.close()


async def _run(settings: Settings, process: Process, services: Services) -> None:
    stop, ready, watching = process.stop, asyncio.Event(), asyncio.Event()
    loops = _start_loops(services, watching, stop)
    signals = asyncio.create_task(_take_signals(services.dispatcher, ready, stop))
    definitions = Definitions(services.cluster)
    process.ready, process.missing = ready.is_set, definitions.faults
    process.dead = lambda: [
        *find_dead(loops),
        *(find_unwatched() if watching.is_set() else []),
        *services.dispatcher.faults(),
        *services.brokers.faults(),
    ]
    # How Kopf names itself; else it asks for the user's name, and the pod's user has none.
    os.environ["POD_ID"] = settings.pod_name
    try:
        await definitions.wait(stop)
        watching.set()
        where = ", ".join(settings.watch_namespaces) or "all namespaces"
        logger.info("the operator watches %s%s", where, _describe_part(settings))
        with shards.only(settings.shard):
            await kopf.operator(
                registry=_register(process, services, loops),
                settings=kopf_settings.build(),
                standalone=True,
                clusterwide=not settings.watch_namespaces,
                namespaces=settings.watch_namespaces,
                stop_flag=stop,
                ready_flag=ready,
            )
    finally:
        signals.cancel()
    dead = [task.get_name() for task in loops if not task.cancelled() and task.exception()]
    if dead:
        raise OperatorError(f"the {dead[0]} died")


def _describe_part(settings: Settings) -> str:
    """Return which part of the TaskQueues is served, for the log."""
    return "" if settings.shard.is_whole else f", and serves shard {settings.shard}"


def _start_loops(
    services: Services, watching: asyncio.Event, stop: asyncio.Event
) -> list["asyncio.Task[None]"]:
    # Started before Kopf, which at its end cancels every task that is younger than itself.
    loops = [
        asyncio.create_task(work, name=name)
        for name, work in (
            ("task writer", services.writer.run()),
            ("hints to workers", services.hints.run()),
            ("end of cancelled Tasks", services.cancels.run()),
            ("status writer", services.board.run()),
            ("task counter", services.counts.run()),
            ("dead letter counter", services.dead_letters.run()),
            ("reader of backlogs", services.backlogs.run()),
            ("scaler", services.scaler.run()),
            ("task cleaner", services.cleanup.run()),
            ("watch of reruns", services.reruns.run(watching)),
            ("resync of TaskQueues", services.resync.run()),
            ("check of TaskQueues", services.missed.run()),
            ("dispatch watch", _watch_dispatch(services)),
            ("return of free memory", memory.run()),
        )
    ]
    for task in loops:
        task.add_done_callback(lambda done: _died(done, stop))
    return loops


def _register(
    process: Process, services: Services, loops: list[asyncio.Task[None]]
) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(kopf_settings.login)
    taskqueue_handlers.register(registry, services.queues, services.teardown)
    task_handlers.register(
        registry,
        services.dispatcher,
        services.hints,
        services.cancels,
        services.counts,
        services.scaler,
    )

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: object) -> None:
        await shut_down(services, loops)
        # Kopf goes on for seconds, but nothing of ours does.
        await process.give_up_lease()

    return registry


def find_dead(loops: list[asyncio.Task[None]]) -> list[str]:
    """Return which loops of our own are dead. A broker that is away is no fault."""
    return [f"the {task.get_name()} is dead" for task in loops if task.done()]


def find_unwatched() -> list[str]:
    """Return which of our kinds are watched no more."""
    alive = {task.get_name() for task in asyncio.all_tasks()}
    return [
        f"{plural} are not watched"
        for plural in (TASKQUEUES, TASKS)
        if not any(name.startswith(f"watcher for {plural}.") and GROUP in name for name in alive)
    ]


async def shut_down(services: Services, loops: list[asyncio.Task[None]]) -> None:
    """Wait for what is in flight, and leave the next operator a true `dispatchedThrough`."""
    await services.dispatcher.stop(STOP_SECONDS)
    for task in loops:
        task.cancel()
    services.requests.stop()
    await services.writer.stop()
    note_dispatched_through(services)
    await services.board.flush()
    await services.brokers.close()


def note_dispatched_through(services: Services) -> None:
    """Put into each TaskQueue's status how far it is published for certain."""
    for key in services.queues.known():
        moment = services.dispatcher.dispatched_through(key)
        if moment:
            services.board.dispatched_through(key, moment)


async def _watch_dispatch(services: Services) -> None:
    """Look after the dispatch: deadlines, silent channels, and how far it has come."""
    loop = asyncio.get_running_loop()
    next_note = loop.time() + DISPATCHED_THROUGH_SECONDS
    while True:
        await asyncio.sleep(1)
        services.dispatcher.fail_late()
        services.dispatcher.give_up_silent_channels()
        services.dispatcher.wake()
        if loop.time() >= next_note:
            next_note = loop.time() + DISPATCHED_THROUGH_SECONDS
            note_dispatched_through(services)


async def _take_signals(dispatcher: Dispatcher, ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Take the signals, and again from Kopf once it has set its own handlers.

    Kopf takes seconds to stop; publishing has to end at once. Before it starts nobody else takes
    them, and the kernel keeps them from a container's first process that has no handler.
    """

    def end() -> None:
        dispatcher.freeze()
        stop.set()

    _on_signals(end)
    await ready.wait()
    _on_signals(end)


def _on_signals(end: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)


def _died(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    if task.cancelled():
        return
    logger.critical("the %s died", task.get_name(), exc_info=task.exception())
    stop.set()
