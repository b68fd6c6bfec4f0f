"""Puts the services of an operator that leads together."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from taskqueue_api.history import HistorySpec
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.workers import WorkerDefaults
from taskqueue_operator.services.backlogs import Backlogs
from taskqueue_operator.services.brokers import Brokers
from taskqueue_operator.services.cancels import Cancels
from taskqueue_operator.services.children import Children
from taskqueue_operator.services.cleanup import Cleanup
from taskqueue_operator.services.counts import Counts
from taskqueue_operator.services.credentials import Credentials
from taskqueue_operator.services.dead_letters import DeadLetters
from taskqueue_operator.services.deletion_costs import DeletionCosts
from taskqueue_operator.services.dispatcher import Dispatcher
from taskqueue_operator.services.hints import Hints
from taskqueue_operator.services.lease import Lease
from taskqueue_operator.services.letter_limits import LetterLimits
from taskqueue_operator.services.missed import MissedDeletions
from taskqueue_operator.services.requests import Requests
from taskqueue_operator.services.reruns import Reruns
from taskqueue_operator.services.resync import Resync
from taskqueue_operator.services.scaler import Scaler
from taskqueue_operator.services.scaling_reports import ScalingReports
from taskqueue_operator.services.status import StatusBoard
from taskqueue_operator.services.task_writer import TaskWriter
from taskqueue_operator.services.taskqueues import TaskQueues
from taskqueue_operator.services.teardown import Teardown
from taskqueue_operator.services.workers import Workers
from taskqueue_operator.settings import Settings

START_MARGIN = timedelta(seconds=2)
"""From the API server's time, read once the Lease is ours, to when no operator before us can have
led: a second because that time and those of creations are cut to seconds, and one for API servers
whose clocks differ."""


@dataclass
class Services:
    """Everything that lives as long as this operator leads."""

    cluster: ClusterClient
    brokers: Brokers
    writer: TaskWriter
    dispatcher: Dispatcher
    hints: Hints
    cancels: Cancels
    board: StatusBoard
    counts: Counts
    dead_letters: DeadLetters
    cleanup: Cleanup
    backlogs: Backlogs
    scaler: Scaler
    reruns: Reruns
    requests: Requests
    queues: TaskQueues
    resync: Resync
    missed: MissedDeletions
    teardown: Teardown


async def build(settings: Settings, cluster: ClusterClient, lease: Lease) -> Services:
    """Put the services together, once the Lease is ours. Raises ClusterError."""
    cluster_uid, server_time = await cluster.cluster_identity()
    # Jitter needs no secrecy.
    rng = random.Random()  # noqa: S311
    requests = Requests(rng)
    brokers = Brokers(
        cluster=cluster,
        default_secret=settings.default_broker_secret,
        rng=rng,
        on_change=lambda keys, link: queues.broker_changed(keys, link),
        leads=lease.leads,
    )
    writer = TaskWriter(cluster, rng)
    now = _server_clock(server_time)
    dispatcher = Dispatcher(
        cluster_uid=cluster_uid,
        started=server_time + START_MARGIN,
        now=now,
        leads=lease.leads,
        writer=writer,
        on_trouble=lambda key: queues.distrust(key),
    )
    board = StatusBoard(cluster)
    counts, cleanup = _build_counts(
        cluster, board, dispatcher, now, lambda key: queues.history_of(key), settings.shard.serves
    )
    backlogs = Backlogs(brokers, lambda: scaler.keys(), lambda: scaler.look())
    dead_letters = DeadLetters(cluster, brokers, board, backlogs.reading)
    scaler = Scaler(
        demand=dispatcher.demand,
        backlogs=backlogs,
        apply=lambda key: queues.scale(key),
        reports=ScalingReports(cluster, board),
        cap=settings.max_worker_pods,
    )
    credentials = Credentials(cluster, brokers)
    limits = LetterLimits(brokers)
    defaults = WorkerDefaults(
        image=settings.worker_image,
        image_pull_policy=settings.worker_image_pull_policy,
        cluster=cluster_uid,
        log_format=settings.log_format,
    )
    queues = TaskQueues(
        brokers=brokers,
        credentials=credentials,
        workers=_build_workers(cluster, board, scaler, now, defaults),
        scaler=scaler,
        backlogs=backlogs,
        dispatcher=dispatcher,
        board=board,
        counts=counts,
        dead_letters=dead_letters,
        limits=limits,
        requests=requests,
        cluster_uid=cluster_uid,
    )
    requests.serve(queues.reconcile)
    teardown = Teardown(cluster, brokers, credentials, limits, dispatcher, board, now)
    reruns = Reruns(cluster, settings.watch_namespaces, rng, settings.shard.serves)
    missed = MissedDeletions(cluster, settings.watch_namespaces, queues)
    hints, cancels = Hints(brokers.link_of), Cancels(cluster, now)
    watching = (dispatcher, hints, cancels, board, counts, dead_letters, cleanup)
    resync = Resync(queues, rng)
    deciding = (backlogs, scaler, reruns, requests, queues, resync, missed)
    return Services(cluster, brokers, writer, *watching, *deciding, teardown)


def _build_counts(
    cluster: ClusterClient,
    board: StatusBoard,
    dispatcher: Dispatcher,
    now: Callable[[], datetime],
    history_of: Callable[[QueueKey], HistorySpec | None],
    serves: Callable[[QueueKey], bool],
) -> tuple[Counts, Cleanup]:
    """Return the counts of Tasks, and what deletes finished ones from the same lists."""
    cleanup = Cleanup(
        cluster,
        history_of=history_of,
        look_again=lambda namespace, moment: counts.look_again(namespace, moment),
        now=now,
    )
    counts = Counts(cluster, board, dispatcher.forget_except, now, cleanup.listed, serves)
    return counts, cleanup


def _server_clock(server_time: datetime) -> Callable[[], datetime]:
    """Return a clock that goes on from the API server's time."""
    offset = server_time - datetime.now(UTC)
    return lambda: datetime.now(UTC) + offset


def _build_workers(
    cluster: ClusterClient,
    board: StatusBoard,
    scaler: Scaler,
    now: Callable[[], datetime],
    defaults: WorkerDefaults,
) -> Workers:
    return Workers(
        cluster=cluster,
        children=Children(cluster),
        board=board,
        scaler=scaler,
        spare_busy=DeletionCosts(cluster, now).mark,
        defaults=defaults,
        now=now,
    )
