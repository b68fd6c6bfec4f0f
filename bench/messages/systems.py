"""The three systems, each with its queue filled by its own client and drained by its workers."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from bench.messages.plan import CELERY, DRAMATIQ, OURS, Cell, dramatiq_form, rival_prefetch
from bench.messages.rates import Sample
from bench.messages.stage import APPS, NAMESPACE, RIVALS_BROKER, Stage, address_of
from e2e.manifests import WORKER_IMAGE, restricted_pod, taskqueue
from taskqueue_api.names import QUEUE_LABEL, dead_letter_queue, work_queue

_REQUESTS = {"cpu": "50m", "memory": "128Mi"}
"""What our workers' pods ask for by default: it is their weight when all processors are busy."""

PYTHON_WORKERS: Mapping[str, Any] = {
    "handlers": {"python": {"module": "ours_app"}},
    "template": {
        "volumes": [{"name": APPS, "configMap": {"name": APPS}}],
        "volumeMounts": [{"name": APPS, "mountPath": "/app", "readOnly": True}],
    },
}
"""`spec.workers` of our handlers, but for their number."""


class Load(Protocol):
    """What is put into a queue, and how it is worked off. options: of the publisher."""

    @property
    def slots(self) -> int: ...
    @property
    def messages(self) -> int: ...
    @property
    def options(self) -> list[str]: ...


class System(Protocol):
    """A way to run messages."""

    def drain(self, cell: Cell) -> Sequence[Sample]:
        """Fill the queue while no worker runs, and return how the workers drained it."""

    def publish(self, count: int, warm_up: int) -> float:
        """Return the seconds that a client needs for so many confirmed publications."""


class Ours:
    """A TaskQueue for each number of slots, paused while it is not measured.

    kind: of their handlers, which their names tell. workers: as PYTHON_WORKERS.
    """

    def __init__(
        self, stage: Stage, kind: str = "python", workers: Mapping[str, Any] = PYTHON_WORKERS
    ) -> None:
        self._stage = stage
        self._kind = kind
        self._workers = workers
        self._created: set[str] = set()

    def drain(self, cell: Load) -> Sequence[Sample]:
        """Publish as a producer outside the cluster's API, then let the worker begin."""
        name = self._ensure(cell.slots)
        queue, rabbit = work_queue(NAMESPACE, name), self._stage.rabbit
        environ = self._environ(name)
        self._stage.fill(
            rabbit,
            queue,
            cell.messages,
            lambda count: self._stage.publish(OURS, count, *cell.options, environ=environ),
        )
        samples = self._stage.watch_drain(rabbit, queue, lambda: self._pause(name, paused=False))
        self._pause(name, paused=True)
        self._wait_idle(name)
        dead = rabbit.depth(dead_letter_queue(NAMESPACE, name))
        if dead is None or dead.ready:
            raise RuntimeError(f"handlers failed: {dead} dead letters")
        return samples

    def publish(self, count: int, warm_up: int) -> float:
        """Publish into the queue of a paused TaskQueue."""
        name = self._ensure(1)
        environ = {**self._environ(name), "CONFIRM": "1"}
        seconds = self._stage.publish(OURS, count, f"--warm-up={warm_up}", environ=environ)
        with self._stage.rabbit.channel() as channel:
            channel.queue_purge(work_queue(NAMESPACE, name))
        return seconds

    def _ensure(self, slots: int) -> str:
        name = f"{self._kind}-slots-{slots}"
        if name not in self._created:
            workers = {"replicas": 1, "concurrency": slots, **self._workers}
            self._stage.kubectl.apply([taskqueue(name, workers, paused=True)])
            self._stage.wait(
                f"queue of '{name}' is there",
                lambda: self._stage.rabbit.depth(work_queue(NAMESPACE, name)),
            )
            self._created.add(name)
        self._wait_idle(name)
        return name

    def _environ(self, name: str) -> dict[str, str]:
        key = str(work_queue(NAMESPACE, name))
        return {"BROKER_URL": address_of(self._stage.rabbit), "ROUTING_KEY": key}

    def _pause(self, name: str, *, paused: bool) -> None:
        self._stage.api.merge("TaskQueue", NAMESPACE, name, {"spec": {"paused": paused}})

    def _wait_idle(self, name: str) -> None:
        selector = f"{QUEUE_LABEL}={name}"
        self._stage.wait(
            f"TaskQueue '{name}' has no workers",
            lambda: not self._stage.api.list("Pod", NAMESPACE, labelSelector=selector),
        )


class Rival:
    """A pod of the same image as our workers', with the rival's packages mounted.

    So it has the same Python, the same share of the processors and the same way to the broker.
    command: returns the worker's, for a cell.
    """

    def __init__(self, stage: Stage, name: str, command: Callable[[Cell], list[str]]) -> None:
        self._stage = stage
        self._name = name
        self._command = command

    def drain(self, cell: Cell) -> Sequence[Sample]:
        """Publish the tasks, then start the worker."""
        rabbit = self._stage.rivals_rabbit
        self._delete_queue()
        environ = {"BROKER_URL": address_of(rabbit)}
        self._stage.fill(
            rabbit,
            self._name,
            cell.messages,
            lambda count: self._stage.publish(self._name, count, *cell.options, environ=environ),
        )
        try:
            samples = self._stage.watch_drain(rabbit, self._name, lambda: self._start(cell))
            log = self._stage.api.log(NAMESPACE, self._name)
        finally:
            self._stop()
        if "ERROR" in log or "Traceback" in log:
            raise RuntimeError(f"handlers failed:\n{log}")
        return samples

    def publish(self, count: int, warm_up: int) -> float:
        """Publish into a queue that has no worker."""
        self._delete_queue()
        environ = {"BROKER_URL": address_of(self._stage.rivals_rabbit), "CONFIRM": "1"}
        return self._stage.publish(self._name, count, f"--warm-up={warm_up}", environ=environ)

    def _start(self, cell: Cell) -> None:
        packages = str(self._stage.packages)
        self._stage.kubectl.apply([_rival_pod(self._name, self._command(cell), packages)])

    def _stop(self) -> None:
        self._stage.kubectl.run("delete", "pod", self._name, "--ignore-not-found", "--wait")

    def _delete_queue(self) -> None:
        with self._stage.rivals_rabbit.channel() as channel:
            channel.queue_delete(self._name)


def build_systems(stage: Stage, *, defaults: bool = False) -> dict[str, System]:
    """Return the systems by name, in the order in which they take turns.

    defaults: whether the rivals come a second time, with the prefetch that they have by default.
    """
    systems: dict[str, System] = {
        OURS: Ours(stage),
        CELERY: Rival(stage, CELERY, lambda cell: celery_command(cell, rival_prefetch(cell))),
        DRAMATIQ: Rival(stage, DRAMATIQ, lambda cell: dramatiq_command(cell, rival_prefetch(cell))),
    }
    if defaults:
        systems[f"{CELERY}_default"] = Rival(stage, CELERY, celery_command)
        systems[f"{DRAMATIQ}_default"] = Rival(stage, DRAMATIQ, dramatiq_command)
    return systems


def celery_command(cell: Cell, prefetch: int | None = None) -> list[str]:
    """Return the command of a worker without what it would tell other workers.

    prefetch: messages at hand for each slot; None: Celery's default, 4.
    """
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    pool = ["--pool=prefork", f"--concurrency={cell.slots}", "--loglevel=WARNING"]
    ahead = [] if prefetch is None else [f"--prefetch-multiplier={prefetch}"]
    return ["python3", "-m", "celery", "--app=celery_app", "worker", *pool, *ahead, *quiet]


def dramatiq_command(cell: Cell, prefetch: int | None = None) -> list[str]:
    """Return the command of a worker in the form that is best for a cell.

    prefetch: messages at hand for each slot; None: Dramatiq's default, 2.
    """
    processes, threads = dramatiq_form(cell, os.cpu_count() or 1)
    form = (f"--processes={processes}", f"--threads={threads}")
    # Of a process, and not to be set by an argument.
    ahead = [] if prefetch is None else ["env", f"dramatiq_queue_prefetch={prefetch * threads}"]
    return [*ahead, "python3", "-m", "dramatiq", "dramatiq_app", *form]


def _rival_pod(name: str, command: list[str], packages: str) -> dict[str, Any]:
    volumes = [
        {"name": APPS, "configMap": {"name": APPS}},
        {"name": "packages", "hostPath": {"path": packages, "type": "Directory"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    places = {APPS: "/app", "packages": "/packages", "tmp": "/tmp"}  # noqa: S108 - its own
    container = {
        "name": "worker",
        "image": WORKER_IMAGE,
        "imagePullPolicy": "Never",
        "command": command,
        "env": [{"name": "PYTHONPATH", "value": "/app:/packages"}],
        "envFrom": [{"secretRef": {"name": RIVALS_BROKER}}],
        "resources": {"requests": _REQUESTS},
        "volumeMounts": [{"name": key, "mountPath": value} for key, value in places.items()],
    }
    spec = restricted_pod(container, volumes=volumes, restartPolicy="Never")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
