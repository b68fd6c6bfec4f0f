"""Breaks one thing at a time, and waits until it is whole again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.api import ApiError, Object
from e2e.demo import SYSTEM_NAMESPACE
from e2e.faults.cuts import cut
from e2e.kubectl import wait_for
from e2e.node import node
from e2e.rabbit_pod import kill_rabbit
from e2e.soak.accounting import Blow
from e2e.soak.plan import Fault
from e2e.space import Space
from e2e.system import RABBITMQ, is_ready, kill_process, name_of, restarts_of

_CUT_SECONDS = 15.0
_BACK_SECONDS = 120.0


@dataclass
class Breaker:
    """Does what a plan's faults say. blows: those that can explain a second start."""

    space: Space
    blows: list[Blow] = field(default_factory=list)

    def act(self, fault: Fault) -> str:
        """Do it; return what was hit, for people."""
        return _ACTS[fault.kind](self, fault)

    @contextmanager
    def blow(self, kind: str, *pods: Object) -> Iterator[None]:
        """Take note of a fault that can keep a start from being written."""
        begun = time.time()
        try:
            yield
        finally:
            hit = frozenset(name_of(pod) for pod in pods)
            self.blows.append(Blow(kind, begun, time.time(), hit))

    # Workers

    def worker(self, fault: Fault) -> Object:
        """Return the worker that a fault is about."""
        ready = [pod for pod in self.space.pods(fault.queue) if is_ready(pod)]
        pods = sorted(ready, key=name_of) or wait_for(
            lambda: [pod for pod in self.space.pods(fault.queue) if is_ready(pod)],
            timeout_seconds=_BACK_SECONDS,
            describe=lambda: "no worker is ready\n" + self.space.diagnose(),
        )
        return pods[int(fault.draw * len(pods))]

    def kill_worker(self, fault: Fault) -> str:
        """SIGKILL; the kubelet restarts a container at once only the first time."""
        pod = self.worker(fault)
        if restarts_of(pod):
            return self.delete_worker(fault)
        with self.blow(fault.kind, pod):
            kill_process(pod, "taskqueue_worker")
        return name_of(pod)

    def delete_worker(self, fault: Fault) -> str:
        """Its pod is gone at once, and so is its process."""
        pod = self.worker(fault)
        with self.blow(fault.kind, pod):
            self.space.system.api.delete("Pod", self.space.name, name_of(pod), grace=0)
        return name_of(pod)

    def drain_worker(self, fault: Fault) -> str:
        """What it runs may end."""
        pod = self.worker(fault)
        self.space.system.api.delete("Pod", self.space.name, name_of(pod))
        return name_of(pod)

    def replace_workers(self, fault: Fault) -> str:
        """A new template rolls out."""
        template = {"annotations": {"example.com/soak": f"{fault.at:.0f}"}}
        self.space.edit_queue(fault.queue, workers={"template": template})
        return fault.queue

    def cut_api(self, fault: Fault) -> str:
        """A worker cannot write for a while."""
        pod = self.worker(fault)
        address = self.space.system.api.get("Service", "default", "kubernetes")["spec"]
        with self.blow(fault.kind, pod), cut(pod, address["clusterIP"]):
            time.sleep(_CUT_SECONDS)
        return name_of(pod)

    def cut_broker(self, fault: Fault) -> str:
        """A worker gets no messages for a while, and settles none."""
        pod = self.worker(fault)
        rabbit = self.rabbit_pod()
        with cut(pod, self.space.system.rabbit.host, rabbit["status"]["podIP"]):
            time.sleep(_CUT_SECONDS)
        return name_of(pod)

    # What they all need

    def kill_operator(self, _: Fault) -> str:
        """SIGKILL."""
        pod = self.space.system.fresh_operator_pod()
        kill_process(pod, "taskqueue_operator")
        return name_of(pod)

    def delete_operator(self, _: Fault) -> str:
        """Another takes its place."""
        pod = self.space.system.operator_pod()
        self.space.system.delete_operator(force=True)
        return name_of(pod)

    def kill_api(self, fault: Fault) -> str:
        """SIGKILL; it is started at once."""
        with self.blow(fault.kind):
            node.restart("kube-apiserver", grace_seconds=0)
        return "kube-apiserver"

    def kill_etcd(self, fault: Fault) -> str:
        """SIGKILL; it is started at once."""
        with self.blow(fault.kind):
            node.restart("etcd", grace_seconds=0)
        return "etcd"

    def rabbit_pod(self) -> Object:
        """Return the broker's pod."""
        return self.space.system.api.get("Pod", SYSTEM_NAMESPACE, f"{RABBITMQ}-0")

    def kill_rabbit(self, fault: Fault) -> str:
        """SIGKILL; the kubelet restarts a container at once only the first time."""
        pod = self.rabbit_pod()
        if restarts_of(pod):
            return self.wipe_rabbit(fault)
        kill_rabbit(pod)
        self.wait_rabbit(lambda now: restarts_of(now) > restarts_of(pod))
        return "with its data kept"

    def wipe_rabbit(self, _: Fault) -> str:
        """Another pod, with an empty disk."""
        pod = self.rabbit_pod()
        self.space.system.api.delete("Pod", SYSTEM_NAMESPACE, name_of(pod), grace=0)
        uid = pod["metadata"]["uid"]
        self.wait_rabbit(lambda now: now["metadata"]["uid"] != uid)
        return "with its data lost"

    def wait_rabbit(self, is_new: Callable[[Object], bool]) -> None:
        """Wait until the broker is back."""

        def back() -> bool:
            try:
                now = self.rabbit_pod()
            except ApiError:
                return False
            return is_new(now) and is_ready(now)

        wait_for(back, timeout_seconds=_BACK_SECONDS, describe=lambda: "RabbitMQ is not back")

    def delete_queue(self, fault: Fault) -> str:
        """With all messages in it."""
        name = self.space.work_queue(fault.queue)
        with self.space.system.rabbit.channel() as channel:
            channel.queue_delete(name)
        return name


_ACTS: dict[str, Callable[[Breaker, Fault], str]] = {
    "worker killed": Breaker.kill_worker,
    "worker deleted": Breaker.delete_worker,
    "worker drained": Breaker.drain_worker,
    "workers replaced": Breaker.replace_workers,
    "operator killed": Breaker.kill_operator,
    "operator deleted": Breaker.delete_operator,
    "API server killed": Breaker.kill_api,
    "etcd killed": Breaker.kill_etcd,
    "RabbitMQ killed": Breaker.kill_rabbit,
    "RabbitMQ wiped": Breaker.wipe_rabbit,
    "queue deleted": Breaker.delete_queue,
    "API server unreachable": Breaker.cut_api,
    "RabbitMQ unreachable": Breaker.cut_broker,
}
