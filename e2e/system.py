"""The installed release: operator and broker, and ways to break them."""

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from e2e.api import Api, Object
from e2e.demo import RELEASE, SYSTEM_NAMESPACE
from e2e.kubectl import Kubectl, wait_for
from e2e.rabbit import Rabbit, rabbit_of_secret

OPERATOR = f"{RELEASE}-operator"
RABBITMQ = f"{RELEASE}-rabbitmq"
_COMPONENT = "app.kubernetes.io/component=operator"
_READY_SECONDS = 120


@dataclass(frozen=True)
class System:
    """What the chart installed.

    rabbit: the broker's administrator, in the vhost that TaskQueues use here.
    namespace: the operator's. operator: its Deployment.
    """

    api: Api
    rabbit: Rabbit
    namespace: str = SYSTEM_NAMESPACE
    operator: str = OPERATOR

    @property
    def kubectl(self) -> Kubectl:
        """kubectl in the operator's namespace."""
        return Kubectl(self.namespace)

    def operator_pods(self) -> list[Object]:
        """Return the operator's pods, but for those being deleted."""
        pods = self.api.list("Pod", self.namespace, labelSelector=_COMPONENT)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def operator_pod(self) -> Object:
        """Return the operator's pod; of several, the one that leads."""
        pods = self.operator_pods()
        (pod,) = pods if len(pods) == 1 else [one for one in pods if is_leading(one)]
        return pod

    def wait_broker(self) -> None:
        """Return once RabbitMQ answers at its Service."""
        wait_for(
            self.rabbit.answers,
            timeout_seconds=_READY_SECONDS,
            describe=lambda: "RabbitMQ does not answer\n" + self.kubectl.diagnose(),
        )

    def wait_operator(self, replicas: int = 1) -> Object:
        """Return the operator's pod that leads, once there are as many, all ready."""

        def ready() -> Object | None:
            pods = self.operator_pods()
            if len(pods) != replicas or not all(is_ready(pod) for pod in pods):
                return None
            return next((pod for pod in pods if is_leading(pod)), None)

        return wait_for(
            ready,
            timeout_seconds=_READY_SECONDS,
            describe=lambda: "no operator is ready\n" + self.kubectl.diagnose(),
        )

    def wait_leader(self, other_than: Object, timeout_seconds: float) -> Object:
        """Return the operator's pod that leads, once it is another than this one."""

        def found() -> Object | None:
            others = [pod for pod in self.operator_pods() if name_of(pod) != name_of(other_than)]
            return next((pod for pod in others if is_leading(pod)), None)

        return wait_for(
            found,
            timeout_seconds=timeout_seconds,
            describe=lambda: "no other operator leads\n" + self.kubectl.diagnose(),
        )

    def delete_operator(self, *, force: bool = False) -> None:
        """Delete the operator's pod, and wait for its successor."""
        grace = 0 if force else None
        self.api.delete("Pod", self.namespace, name_of(self.operator_pod()), grace=grace)
        self.wait_operator()

    def fresh_operator_pod(self) -> Object:
        """Return the operator's pod, a new one if it was ever restarted: for who is to kill it.

        The kubelet restarts a container at once only the first time.
        """
        if restarts_of(self.operator_pod()):
            self.delete_operator(force=True)
        return self.operator_pod()

    def kill_operator(self) -> None:
        """Kill the operator's process, and wait until it has been restarted."""
        pod = self.operator_pod()
        restarts = restarts_of(pod)
        kill_process(pod, "taskqueue_operator")
        wait_for(
            lambda: restarts_of(self.operator_pod()) > restarts,
            timeout_seconds=_READY_SECONDS,
            describe=lambda: "the operator was not restarted\n" + self.kubectl.diagnose(),
        )
        self.wait_operator()

    def scale_operator(self, replicas: int) -> None:
        """Run so many operators; with any, wait until one leads."""
        self.kubectl.run("scale", "deployment", self.operator, f"--replicas={replicas}")
        if replicas:
            self.wait_operator(replicas)
        else:
            wait_for(
                lambda: not self.api.list("Pod", self.namespace, labelSelector=_COMPONENT),
                timeout_seconds=_READY_SECONDS,
                describe=lambda: "the operator does not stop\n" + self.kubectl.diagnose(),
            )

    def logs(self) -> list[dict[str, Any]]:
        """Return the operator's log so far, a record per line."""
        return parse_log(self.api.log(self.namespace, name_of(self.operator_pod())))

    def describe_log(self, namespace: str, lines: int = 40) -> str:
        """Return the end of the operator's log, as far as it is about a namespace."""
        text = self.kubectl.run("logs", f"deployment/{self.operator}", "--tail=2000")
        about = [line for line in text.splitlines() if namespace in line or '"ERROR"' in line]
        return "\n".join(about[-lines:])

    def get(self, path: str) -> httpx.Response:
        """Ask the operator's own HTTP server."""
        return ask_pod(self.operator_pod(), path)

    def metric(self, name: str) -> float | None:
        """Return a metric of the operator. name: with labels, as it shows them."""
        return read_metric(self.get("/metrics").text, name)


def rabbit_of_release(api: Api) -> Rabbit:
    """Return the broker of the chart, as its administrator."""
    return rabbit_of_secret(api, SYSTEM_NAMESPACE, f"{RABBITMQ}-default-user", RABBITMQ)


def ask_pod(pod: Mapping[str, Any], path: str, *, timeout_seconds: float = 20.0) -> httpx.Response:
    """Ask the HTTP server of an operator or a worker."""
    (port,) = pod["spec"]["containers"][0]["ports"]
    url = f"http://{pod['status']['podIP']}:{port['containerPort']}{path}"
    return httpx.get(url, timeout=timeout_seconds, trust_env=False)


def is_leading(pod: Mapping[str, Any]) -> bool:
    """Return whether an operator leads; one that does not answer does not, as far as is known."""
    try:
        text = ask_pod(pod, "/metrics", timeout_seconds=1.0).text
    except (httpx.TransportError, KeyError):
        return False  # it is stopped, or has no address yet
    return read_metric(text, "taskqueue_leader") == 1


def read_metric(text: str, name: str) -> float | None:
    """Return a metric's value; None: it is not there."""
    for line in text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[-1])
    return None


def parse_log(text: str) -> list[dict[str, Any]]:
    """Return the records of a JSON log; lines that are none are left out."""
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is ready."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def restarts_of(pod: Mapping[str, Any]) -> int:
    """Return how often the container of a pod was restarted."""
    return sum(one["restartCount"] for one in pod["status"].get("containerStatuses", []))


def name_of(body: Mapping[str, Any]) -> str:
    """Return an object's name."""
    return str(body["metadata"]["name"])


def kill_process(pod: Mapping[str, Any], module: str) -> None:
    """Kill the main process of a pod by SIGKILL.

    From inside its namespaces the kernel protects a container's first process from that. The
    node's processes are this machine's, with kind too. Raises LookupError when there is none.
    """
    os.kill(_find_module(pod, module), signal.SIGKILL)


def stop_process(pod: Mapping[str, Any], module: str) -> None:
    """Send SIGTERM to the main process of a pod. Raises LookupError when there is none."""
    os.kill(_find_module(pod, module), signal.SIGTERM)


def pause_process(pod: Mapping[str, Any], module: str) -> None:
    """Stop the main process of a pod in its tracks. Raises LookupError when there is none."""
    os.kill(_find_module(pod, module), signal.SIGSTOP)


def resume_process(pod: Mapping[str, Any], module: str) -> None:
    """Let a paused process go on. Raises LookupError when there is none."""
    os.kill(_find_module(pod, module), signal.SIGCONT)


def read_token(pod: Mapping[str, Any], module: str) -> str:
    """Return the token of a pod's service account as its main process would read it now."""
    # Not by /var/run, a link that would lead out of the container from here.
    folder = Path(f"/proc/{_find_module(pod, module)}/root/run/secrets/kubernetes.io")
    return (folder / "serviceaccount/token").read_text().strip()


def _find_module(pod: Mapping[str, Any], module: str) -> int:
    return find_process(pod, lambda command: command[1:3] == [b"-m", module.encode()])


def find_process(pod: Mapping[str, Any], is_it: Callable[[list[bytes]], bool]) -> int:
    """Return the number, on this machine, of a pod's process. Raises LookupError.

    is_it: tells it by its command line.
    """
    uid = pod["metadata"]["uid"]
    spellings = (uid, uid.replace("-", "_"))
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            groups = (folder / "cgroup").read_text()
        except OSError:
            continue  # it has just ended
        if is_it(command) and any(one in groups for one in spellings):
            return int(folder.name)
    raise LookupError(f"pod {name_of(pod)} runs no such process")
