"""A namespace of a test's own, and what tests do in it and wait for."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from e2e.api import Object
from e2e.demo import SYSTEM_NAMESPACE
from e2e.kubectl import Kubectl, wait_for
from e2e.manifests import broker_service, mounted_config, namespace, scenario_workers, taskqueue
from e2e.rabbit import DEFAULT_VHOST, Rabbit
from e2e.recorder import Recorder, Run
from e2e.system import RABBITMQ, System, is_ready, name_of
from taskqueue_api import names
from taskqueue_api.conditions import parse_time
from taskqueue_api.task import FINISHED_PHASES

WAIT_SECONDS = 90.0
_CREATORS = 8
_SHOWN = 15
_FINISHED = FINISHED_PHASES

T = TypeVar("T")


@dataclass(frozen=True)
class Space:
    """One namespace."""

    name: str
    system: System
    recorder: Recorder

    @property
    def kubectl(self) -> Kubectl:
        """kubectl in the namespace."""
        return Kubectl(self.name)

    def work_queue(self, name: str) -> str:
        """Return the name in RabbitMQ of a TaskQueue's queue."""
        return names.work_queue(self.name, name)

    def dead_letters(self, name: str) -> str:
        """Return the name in RabbitMQ of a TaskQueue's queue of dead letters."""
        return names.dead_letter_queue(self.name, name)

    # Doing

    def create(self) -> None:
        """Create the namespace, with the handlers that workers of scenarios mount."""
        self.system.api.create_namespace(namespace(self.name))
        self.apply(mounted_config())

    def apply(self, *documents: Mapping[str, Any]) -> None:
        """Create or change objects, as `kubectl apply --server-side` does. Raises ApiError."""
        for document in documents:
            self.system.api.apply(self._placed(document))

    def scenario_queue(
        self, name: str, workers: Mapping[str, Any] | None = None, **spec: Any
    ) -> Object:
        """Return a TaskQueue that runs the scenarios' handlers."""
        vhost = self.system.rabbit.vhost
        if vhost != DEFAULT_VHOST:
            spec = {"broker": {"vhost": vhost}, **spec}
        return taskqueue(name, scenario_workers(self.recorder.url, **(workers or {})), **spec)

    def amqp_only(self, user: Rabbit) -> Rabbit:
        """Return a user of the release's broker, by a Service that hides the management API."""
        return self.broker_by("amqp-only", user)

    def broker_by(
        self, service: str, user: Rabbit, management: tuple[str, int] | None = None
    ) -> Rabbit:
        """Return a user of the release's broker, by a Service of this namespace.

        management: address and port of what stands before the management API; None: it is hidden.
        """
        pod = self.system.api.get("Pod", SYSTEM_NAMESPACE, f"{RABBITMQ}-0")
        endpoints = {"amqp": (pod["status"]["podIP"], 5672)}
        if management:
            endpoints["management"] = management
        self.apply(*broker_service(service, endpoints))
        return user.by_service(service, self.name)

    def create_all(self, documents: Iterable[Mapping[str, Any]]) -> list[Object]:
        """Create many objects at once."""
        with ThreadPoolExecutor(_CREATORS) as pool:
            return list(pool.map(self._create_one, documents))

    def _create_one(self, document: Mapping[str, Any]) -> Object:
        return self.system.api.create(self._placed(document))

    def _placed(self, document: Mapping[str, Any]) -> Object:
        return {**document, "metadata": {**document["metadata"], "namespace": self.name}}

    def edit_queue(self, name: str, **spec: Any) -> int:
        """Change fields of a TaskQueue's spec by a merge patch; return the new generation."""
        changed = self.system.api.merge("TaskQueue", self.name, name, {"spec": spec})
        return int(changed["metadata"]["generation"])

    # Seeing

    def get(self, kind: str, name: str) -> Object:
        """Return an object."""
        return self.system.api.get(kind, self.name, name)

    def find(self, kind: str, name: str) -> Object | None:
        """Return an object; None: it is not there."""
        return self.system.api.find(kind, self.name, name)

    def tasks(self, *selectors: str) -> list[Object]:
        """Return Tasks. selectors: of fields, such as `status.phase=Failed`."""
        return self.system.api.list("Task", self.name, fieldSelector=",".join(selectors))

    def pods(self, queue: str) -> list[Object]:
        """Return a TaskQueue's worker pods, but for those being deleted."""
        selector = f"{names.QUEUE_LABEL}={queue}"
        pods = self.system.api.list("Pod", self.name, labelSelector=selector)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def events(self, reason: str) -> list[Object]:
        """Return the namespace's Events of a reason."""
        return self.system.api.list("Event", self.name, fieldSelector=f"reason={reason}")

    def runs(self, event: str = "run") -> list[Run]:
        """Return what handlers of this namespace recorded."""
        return self.recorder.runs(self.name, event)

    def dispatched(self, queue: str) -> int:
        """Return how many confirmed publications of a TaskQueue's Tasks the operator counts."""
        labels = f'namespace="{self.name}",queue="{queue}",verdict="confirmed"'
        return int(self.system.metric(f"taskqueue_dispatches_total{{{labels}}}") or 0)

    def let_go(self) -> None:
        """Let the handlers of this namespace end that hold."""
        self.recorder.let_go(self.name)

    # Waiting

    def wait(
        self, what: str, condition: Callable[[], T | None], timeout_seconds: float = WAIT_SECONDS
    ) -> T:
        """Return what a condition gives as soon as it is true.

        what: the condition, in words. Raises WaitTimeoutError with how things stand.
        """
        return wait_for(
            condition,
            timeout_seconds=timeout_seconds,
            describe=lambda: f"{what}: not so in {self.name}\n{self.diagnose()}",
        )

    def wait_queue(self, name: str, reason: str = "", generation: int = 0) -> Object:
        """Return a TaskQueue as soon as its Ready condition has a reason; default: it is true.

        generation: the least that the condition must be about.
        """

        def found() -> Object | None:
            body = self.get("TaskQueue", name)
            ready = condition_of(body, "Ready")
            wanted = max(generation, body["metadata"]["generation"])
            seen = ready.get("observedGeneration", 0) >= wanted
            same = ready.get("reason") == reason if reason else ready.get("status") == "True"
            return body if seen and same else None

        return self.wait(f"TaskQueue '{name}' is '{reason or 'Ready'}'", found)

    def wait_task(self, name: str, phase: str = "") -> Object:
        """Return a Task as soon as it is in a phase; default: finished, one way or the other."""

        def found() -> Object | None:
            body = self.get("Task", name)
            now = body["status"]["phase"]
            if phase and now in _FINISHED and now != phase:
                raise AssertionError(f"Task '{name}' is {now}: {body['status']}")
            return body if now == phase or (not phase and now in _FINISHED) else None

        return self.wait(f"Task '{name}' is {phase or 'finished'}", found)

    def wait_tasks(self, count: int, phase: str = "Succeeded", seconds: float = 120) -> None:
        """Wait until there are as many Tasks in the namespace, and all are in a phase."""

        def found() -> bool:
            if self.system.api.list(
                "Task", self.name, fieldSelector=f"status.phase!={phase}", limit=1
            ):
                return False
            return len(self.tasks()) == count

        self.wait(f"{count} Tasks are {phase}", found, seconds)

    def wait_dispatched(self, name: str, status: str, reason: str) -> Object:
        """Return a Task as soon as its condition Dispatched has a status and a reason."""

        def found() -> Object | None:
            body = self.get("Task", name)
            condition = condition_of(body, "Dispatched")
            same = (condition.get("status"), condition.get("reason")) == (status, reason)
            return body if same else None

        return self.wait(f"Task '{name}' has Dispatched={status} {reason}", found)

    def wait_depth(self, queue: str, ready: int) -> None:
        """Wait until a TaskQueue's queue in RabbitMQ holds as many messages."""
        broker_queue = self.work_queue(queue)

        def found() -> bool:
            depth = self.system.rabbit.depth(broker_queue)
            return depth is not None and depth.ready == ready

        self.wait(f"queue '{broker_queue}' holds {ready} messages", found)

    def wait_gone(self, kind: str, name: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until an object is there no more."""
        self.wait(f"{kind} '{name}' is gone", lambda: self.find(kind, name) is None, seconds)

    def wait_workers(self, queue: str, count: int) -> list[Object]:
        """Return a TaskQueue's worker pods, once there are as many, all ready."""

        def found() -> bool:
            pods = self.pods(queue)
            return len(pods) == count and all(is_ready(pod) for pod in pods)

        self.wait(f"TaskQueue '{queue}' has {count} ready workers", found)
        return self.pods(queue)

    def wait_older(self, body: Mapping[str, Any], age: timedelta) -> None:
        """Wait until an object was created longer ago than this, by the API server's clock."""
        moment = parse_time(body["metadata"]["creationTimestamp"]) + age
        # The dry run of a creation tells the time.
        clock = ("create", "configmap", "clock", "--dry-run=server")
        shown = ("-o", "jsonpath={.metadata.creationTimestamp}")
        self.wait(
            f"{name_of(body)} is older than {age}",
            lambda: parse_time(self.kubectl.run(*clock, *shown)) > moment,
        )

    # Explaining

    def diagnose(self) -> str:
        """Return all that is known, for people."""
        queues = self.system.api.list("TaskQueue", self.name)
        tasks = self.tasks()
        open_tasks = [task for task in tasks if task["status"]["phase"] != "Succeeded"]
        return "\n".join(
            [
                *(f"TaskQueue {name_of(one)}: {one.get('status')}" for one in queues),
                f"{len(tasks)} Tasks, {len(open_tasks)} of them not Succeeded",
                *(f"Task {name_of(one)}: {one['status']}" for one in open_tasks[:_SHOWN]),
                "--- messages in RabbitMQ",
                self.system.rabbit.describe(),
                "--- the operator's log",
                self.system.describe_log(self.name),
                "--- the namespace",
                self.kubectl.diagnose(),
            ]
        )


def condition_of(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return an object's condition of a type; empty: it has none."""
    conditions = body.get("status", {}).get("conditions", [])
    return next((dict(one) for one in conditions if one["type"] == kind), {})


def message_of(body: Mapping[str, Any], kind: str = "Ready") -> str:
    """Return the message of an object's condition."""
    return str(condition_of(body, kind).get("message", ""))


def error_of(body: Mapping[str, Any]) -> tuple[str, str]:
    """Return type and message of a failed Task's error."""
    assert body["status"]["phase"] == "Failed", body["status"]
    error = body["status"]["error"]
    return error["type"], error["message"]


def count_runs(runs: Sequence[Run]) -> dict[str, int]:
    """Return how often each Task ran, by name."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.name] = counts.get(run.name, 0) + 1
    return counts


def holds_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether something stays true for a while; false as soon as it is not.

    For claims that something does not happen; nothing else can show them.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.25)
    return True
