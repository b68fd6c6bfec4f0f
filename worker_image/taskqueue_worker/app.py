"""The process: read settings, start the parts, stop them in order."""

import asyncio
import logging
import math
import os
import secrets
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvloop

from taskqueue_api.names import control_queue, work_queue
from taskqueue_api.nesting import allow_deep_json
from taskqueue_worker.api import ApiServer, Cluster, UnauthorizedError
from taskqueue_worker.attempts import Attempts
from taskqueue_worker.broker import Broker
from taskqueue_worker.clock import ServerClock
from taskqueue_worker.handling import Handling, open_handling
from taskqueue_worker.health import Health, serve_http
from taskqueue_worker.lenient import allow_odd_headers
from taskqueue_worker.limits import Limits
from taskqueue_worker.logs import configure_logging, leave_last_words
from taskqueue_worker.payloads import Payloads
from taskqueue_worker.place import Place
from taskqueue_worker.processes import LauncherError
from taskqueue_worker.runners import log_from_handler
from taskqueue_worker.session import Prefetch
from taskqueue_worker.settings import Settings, SettingsError, load_settings
from taskqueue_worker.statuses import Identity
from taskqueue_worker.waiting import spare_messages
from taskqueue_worker.worker import Worker

_log = logging.getLogger("taskqueue_worker")

_GRACE_MARGIN_SECONDS = 5.0
_CLOCK_SECONDS = 5.0
"""How long to wait for the API server's clock; without it every Task is read before it starts."""
_START_MARGIN_SECONDS = 0.5
"""The container's startedAt is taken at most so long after this process began to run."""


def main() -> int:
    """Run the worker until SIGTERM. 0: drained; 1: cannot run; 2: wrong settings."""
    started = time.time()
    try:
        settings = load_settings()
        cluster = _find_cluster(settings)
    except SettingsError as error:
        print(f"taskqueue_worker: {error}", file=sys.stderr)
        leave_last_words(str(error))
        return 2
    configure_logging(settings.log_format)
    # A Task of the name in a message may be another by now, with any payload.
    allow_deep_json()
    allow_odd_headers()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings, cluster, started))


def _find_cluster(settings: Settings) -> Cluster:
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise SettingsError("KUBERNETES_SERVICE_HOST must be set: the worker runs in a pod")
    address = f"[{host}]" if ":" in host else host
    return Cluster(f"https://{address}:{port}", settings.service_account)


async def _run(settings: Settings, cluster: Cluster, started: float) -> int:
    log = partial(log_from_handler, logging.getLogger("handler"))
    try:
        async with open_handling(settings.handlers, settings.concurrency, log) as handling:
            return await _work(settings, cluster, handling, started)
    except LauncherError as error:
        _log.error("cannot start: %s", error, extra={"traceback": error.details})
        leave_last_words(str(error))
        return 1


async def _work(settings: Settings, cluster: Cluster, handling: Handling, started: float) -> int:
    api = ApiServer(cluster, settings.namespace, ServerClock())
    try:
        parts = _build(settings, api, handling)
        server = await serve_http(parts.health, settings.port)
        try:
            return await _serve(parts, settings, started)
        finally:
            server.close()
    finally:
        await api.close()


@dataclass(frozen=True)
class _Parts:
    handling: Handling
    api: ApiServer
    broker: Broker
    worker: Worker
    health: Health


def _build(settings: Settings, api: ApiServer, handling: Handling) -> _Parts:
    slots = settings.concurrency
    queue = work_queue(settings.namespace, settings.name)
    me = Identity(settings.pod_name, settings.pod_uid, settings.node_name, secrets.token_hex(8))
    broker = Broker(
        settings.broker,
        queue,
        Prefetch(slots, spare_messages(slots)),
        settings.pod_name,
        # Of its own for each session: RabbitMQ may not have noticed yet that the last one is over.
        control=lambda session: control_queue(
            settings.namespace, settings.name, f"{me.instance}{session:04x}"
        ),
    )
    place = Place(
        cluster=settings.cluster,
        namespace=settings.namespace,
        taskqueue=settings.name,
        slots=slots,
        timeout=settings.timeout.total_seconds(),
        retry=settings.retry,
    )
    attempts = Attempts(api, me, settings.retry, always=settings.claim == "Always")
    payloads = Payloads(api, settings.name)
    limits = Limits(broker.take_token, settings.rate_tokens, settings.running_tokens)
    worker = Worker(place, broker, attempts, payloads, limits, handling.runner, handling.names)
    health = Health(connected=lambda: broker.connected, consuming=lambda: broker.consuming)
    _log.info("started", extra={"queue": queue, "slots": slots, "instance": me.instance})
    return _Parts(handling, api, broker, worker, health)


async def _serve(parts: _Parts, settings: Settings, started: float) -> int:
    """Work until told to stop, or until a part cannot go on; return the exit code."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    told = loop.create_task(stop.wait())
    working = loop.create_task(parts.worker.run())
    consuming = loop.create_task(_consume(parts, settings.pod_name, started))
    broken = parts.handling.broken
    ends: set[asyncio.Future[Any]] = {told, working, consuming, broken}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    parts.health.draining = True
    code = 1
    if broken.done():
        _log.error("cannot go on: %s", broken.result())
    elif told.done():
        await parts.worker.drain(max(1.0, settings.grace - _GRACE_MARGIN_SECONDS))
        code = 0
    for task in (told, working, consuming):
        task.cancel()
    # What still runs is killed here, and its message goes back with the connection.
    results = await asyncio.gather(working, consuming, return_exceptions=True)
    for result in results:
        _raise_failure(result)
    return code


def _raise_failure(result: BaseException | None) -> None:
    """Raise what ended a part, unless it was told to end."""
    if result is None or isinstance(result, asyncio.CancelledError):
        return
    if isinstance(result, ExceptionGroup) and result.subgroup(UnauthorizedError) is not None:
        _log.error("cannot go on: the API server does not take this pod's token")
        return
    raise result


async def _consume(parts: _Parts, pod: str, started: float) -> None:
    """Learn the API server's clock, then consume."""
    asking = asyncio.get_running_loop().create_task(parts.api.get_pod(pod))
    await asyncio.wait([asking], timeout=_CLOCK_SECONDS)
    asking.cancel()
    # Nothing may start in the second in which the container did: see holder.is_alive.
    second = math.floor(started + _START_MARGIN_SECONDS) + 1
    await asyncio.sleep(max(0.0, second - time.time()))
    worker = parts.worker
    await parts.broker.run(worker.deliver, worker.lost, worker.hint, worker.opened)
