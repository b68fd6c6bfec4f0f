"""Where the benchmarks run: a cluster with the release, and a namespace of their own on it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from bench.load_client import LoadClient
from e2e import release
from e2e.api import Api, Object
from e2e.kubectl import CHECKOUT, Kubectl, wait_for
from e2e.manifests import config_map, namespace, taskqueue
from e2e.system import System
from taskqueue_api.names import GROUP, QUEUE_LABEL, TASKS, VERSION

NAMESPACE = "bench"
LIMIT_GROUP = f"bench.{GROUP}"
PLAIN_KIND = "PlainProbe"
_PLAIN_PROBES = "plainprobes"
_LIMIT_KINDS = (f"{TASKS}.{LIMIT_GROUP}", f"{_PLAIN_PROBES}.{LIMIT_GROUP}")
_SECONDS = 180.0
_DELETED_AT_ONCE = 2000
# Tens of thousands of Tasks may be there.
_CLEARED_SECONDS = 600.0
_HANDLERS = """
import time
from taskqueue_worker import task

@task("noop")
def noop(payload):
    return None

@task("stamp")
def stamp(payload):
    return time.time()

@task("pause")
def pause(payload):
    time.sleep(payload["seconds"])
"""


@dataclass(frozen=True)
class Stage:
    """The cluster, as the benchmarks use it."""

    api: Api
    system: System
    client: LoadClient
    kubectl: Kubectl
    namespace: str = NAMESPACE

    @property
    def tasks(self) -> str:
        """The path of the Tasks."""
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{TASKS}"

    @property
    def probes(self) -> str:
        """The path of the objects that are Tasks to the API server alone."""
        return f"/apis/{LIMIT_GROUP}/{VERSION}/namespaces/{self.namespace}/{TASKS}"

    @property
    def plain_probes(self) -> str:
        """The path of objects without a schema."""
        return f"/apis/{LIMIT_GROUP}/v1/namespaces/{self.namespace}/{_PLAIN_PROBES}"

    def apply(self, body: Mapping[str, Any]) -> None:
        """Create or change an object in the namespace."""
        metadata = {**body["metadata"], "namespace": self.namespace}
        self.api.apply({**body, "metadata": metadata})

    def start_queue(self, name: str, slots: int = 4, **spec: Any) -> None:
        """Create a TaskQueue with one worker, and wait until it is ready."""
        self.apply(queue_with(name, slots, **spec))
        self.wait_ready(name)

    def wait_ready(self, name: str, workers: int = 1) -> None:
        """Wait until a TaskQueue is ready, with so many workers."""

        def ready() -> bool:
            status = self.api.get("TaskQueue", self.namespace, name).get("status", {})
            conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
            return conditions.get("Ready") == "True" and (
                status.get("workers", {}).get("ready", 0) == workers
            )

        wait_for(ready, timeout_seconds=_SECONDS, describe=self.kubectl.diagnose)

    def remove_queue(self, name: str) -> None:
        """Delete a TaskQueue, and wait until it and its workers are gone."""
        self.api.delete("TaskQueue", self.namespace, name)
        selector = f"{QUEUE_LABEL}={name}"

        def gone() -> bool:
            return self.api.find("TaskQueue", self.namespace, name) is None and not self.api.list(
                "Pod", self.namespace, labelSelector=selector
            )

        wait_for(gone, timeout_seconds=_SECONDS, describe=self.kubectl.diagnose)

    def remove_tasks(self, path: str) -> None:
        """Delete all objects of a collection.

        Some at a time: the API server breaks off a request that takes it a minute. Raises
        WaitTimeoutError.
        """
        where = f"{path}?propagationPolicy=Background&limit={_DELETED_AT_ONCE}"

        def is_last() -> bool:
            deleted = json.loads(self.kubectl.run("delete", "--raw", where)).get("items", [])
            # Those that somebody's finalizer keeps are in each answer again.
            return len(deleted) < _DELETED_AT_ONCE

        wait_for(is_last, timeout_seconds=_CLEARED_SECONDS, describe=self.kubectl.diagnose)


def queue_with(name: str, slots: int, *, scaled: bool = False, **spec: Any) -> Object:
    """Return a TaskQueue whose one worker runs the benchmarks' handlers; scaled: none at first."""
    workers: dict[str, Any] = {
        **({"scaling": {}} if scaled else {"replicas": 1}),
        "concurrency": slots,
        "handlers": {"python": {"module": "bench_handlers"}},
        "template": {
            "volumes": [{"name": "handlers", "configMap": {"name": "bench-handlers"}}],
            "volumeMounts": [{"name": "handlers", "mountPath": "/app", "readOnly": True}],
        },
    }
    return taskqueue(name, workers, **spec)


def task_body(queue: str, handler: str, payload: Any = None, group: str = GROUP) -> Object:
    """Return a Task, or what looks like one, without a name."""
    spec = {"queue": queue, "handler": handler, "payload": payload}
    return {"apiVersion": f"{group}/{VERSION}", "kind": "Task", "metadata": {}, "spec": spec}


@contextmanager
def stage() -> Iterator[Stage]:
    """Bring up what `make demo` does, but for its examples, and a namespace; delete that after."""
    system = release.bring_up()
    api, kubectl = system.api, Kubectl(NAMESPACE)
    made = Stage(api, system, LoadClient(), kubectl)
    # What the run before left, if it was broken off or has only just ended.
    gone = ("delete", "namespace", NAMESPACE, "--ignore-not-found")
    kubectl.run(*gone, timeout_seconds=_CLEARED_SECONDS)
    api.create_namespace(namespace(NAMESPACE))
    try:
        made.apply(config_map("bench-handlers", {"bench_handlers.py": _HANDLERS}))
        kubectl.apply([_limit_kind(), _plain_kind()])
        kubectl.run("wait", "crd", *_LIMIT_KINDS, "--for=condition=Established")
        yield made
    finally:
        api.delete_namespace(NAMESPACE)
        kubectl.run("delete", "crd", *_LIMIT_KINDS, "--ignore-not-found", "--wait=false")
        api.close()


def _limit_kind() -> Object:
    """Return a kind that the API server treats as it does Tasks, and nobody else looks at."""
    text = (CHECKOUT / "crds" / f"{GROUP}_{TASKS}.yaml").read_text(encoding="utf-8")
    definition: Object = yaml.safe_load(text)
    definition["metadata"] = {"name": f"{TASKS}.{LIMIT_GROUP}"}
    definition["spec"]["group"] = LIMIT_GROUP
    definition["spec"]["names"] = {"kind": "Task", "plural": TASKS, "singular": "task"}
    copied: Object = json.loads(json.dumps(definition))
    return copied


def _plain_kind() -> Object:
    """Return a kind of which the API server knows nothing but that it has a status."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    names = {"kind": PLAIN_KIND, "plural": _PLAIN_PROBES, "singular": PLAIN_KIND.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{_PLAIN_PROBES}.{LIMIT_GROUP}"},
        "spec": {
            "group": LIMIT_GROUP,
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }
