"""Where the systems run: a namespace and a vhost of the bench alone, and what is done in them."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.environment import RIVALS, ensure_environment, packages_of, python_of
from bench.messages.rates import Sample
from e2e.api import Api
from e2e.kubectl import CommandError, Kubectl, WaitTimeoutError, wait_for
from e2e.manifests import config_map, secret
from e2e.rabbit import Rabbit
from e2e.system import rabbit_of_release

NAMESPACE = VHOST = "bench-messages"
APPS = "apps"
"""ConfigMap with the modules of all systems' handlers."""

RIVALS_BROKER = "rivals-broker"
"""Secret with the address of the rivals' vhost."""

_HERE = Path(__file__).resolve().parent
_PAUSE_SECONDS = 0.02
_WAIT_SECONDS = 120.0
_PUBLISH_SECONDS = 300.0
_SETTLE_SECONDS = 5.0
_TRIES = 5


@dataclass(frozen=True)
class Stage:
    """One namespace and one vhost.

    rabbit: the broker's administrator, in the vhost of TaskQueues. environment: the rivals'.
    """

    api: Api
    rabbit: Rabbit
    environment: Path

    @property
    def kubectl(self) -> Kubectl:
        """kubectl in the namespace."""
        return Kubectl(NAMESPACE)

    @property
    def rivals_rabbit(self) -> Rabbit:
        """The administrator in the rivals' vhost, which goes with all that they declare."""
        return self.rabbit.at(VHOST)

    @property
    def packages(self) -> Path:
        """The folder of the rivals' packages."""
        return packages_of(self.environment)

    def publish(self, system: str, count: int, *options: str, environ: Mapping[str, str]) -> float:
        """Have a client publish messages in a process of its own; return its seconds."""
        self.wait("RabbitMQ lets publishers go on", lambda: not has_alarm(self.rabbit))
        command: list[str | Path] = [python_of(self.environment), _HERE / "publisher.py", system]
        done = subprocess.run(
            [*command, str(count), *options],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            check=True,
            timeout=_PUBLISH_SECONDS,
        )
        return float(done.stdout)

    def wait(self, what: str, condition: Callable[[], object]) -> None:
        """Wait until a condition is true. what: it in words, for the WaitTimeoutError."""
        wait_for(
            lambda: bool(condition()),
            timeout_seconds=_WAIT_SECONDS,
            describe=lambda: f"{what}: not so\n{self.rabbit.describe()}\n{self.kubectl.diagnose()}",
        )

    def fill(
        self, rabbit: Rabbit, queue: str, count: int, publish: Callable[[int], object]
    ) -> None:
        """Bring a queue without workers to so many messages.

        publish: sends that many, of which a broker that holds up publishers may lose some.
        Raises WaitTimeoutError.
        """

        def missing() -> int:
            depth = rabbit.depth(queue)
            return count - (depth.ready if depth else 0)

        for _ in range(_TRIES):
            publish(missing())
            deadline = time.monotonic() + _SETTLE_SECONDS
            while missing() and time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
            if not missing():
                return
        raise WaitTimeoutError(f"queue '{queue}' still lacks {missing()} of {count} messages")

    def watch_drain(
        self, rabbit: Rabbit, queue: str, start: Callable[[], None]
    ) -> Sequence[Sample]:
        """Return what a full queue had until it was empty. start: starts its workers."""
        with rabbit.channel() as channel:

            def look() -> Sample:
                answer = channel.queue_declare(queue, passive=True)
                return Sample(time.monotonic(), answer.method.message_count)

            samples = [look()]
            start()
            deadline = time.monotonic() + _WAIT_SECONDS
            while samples[-1].ready:
                if time.monotonic() > deadline:
                    words = f"queue '{queue}' still has {samples[-1].ready} messages"
                    raise WaitTimeoutError(f"{words}\n{self.kubectl.diagnose()}")
                time.sleep(_PAUSE_SECONDS)
                samples.append(look())
        return samples


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Give an empty stage; at the end everything on it is deleted."""
    api = Api()
    stage = Stage(api, rabbit_of_release(api), ensure_environment(RIVALS))
    _clear(stage)
    try:
        stage.rabbit.add_vhost(VHOST)
        api.create_namespace(_namespace())
        modules = {path.name: path.read_text(encoding="utf-8") for path in _HERE.glob("*_app.py")}
        address = {"BROKER_URL": address_of(stage.rivals_rabbit)}
        stage.kubectl.apply([config_map(APPS, modules), secret(RIVALS_BROKER, address)])
        yield stage
    finally:
        _clear(stage)
        api.close()


def address_of(rabbit: Rabbit) -> str:
    """Return an AMQP address with its vhost."""
    return f"{rabbit.uri}/{quote(rabbit.vhost, safe='')}"


def has_alarm(rabbit: Rabbit) -> bool:
    """Return whether the broker holds up publishers, and slows down all else, for lack of room."""
    nodes = rabbit.manage("GET", "nodes")
    return any(node["mem_alarm"] or node["disk_free_alarm"] for node in nodes)


def _namespace() -> dict[str, Any]:
    # The rivals' packages come from a folder of the node, which no restricted pod may mount.
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    metadata = {"name": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _clear(stage: Stage) -> None:
    delete = ("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait")
    try:
        stage.kubectl.run(*delete, timeout_seconds=_WAIT_SECONDS)
    except CommandError as error:
        print(f"left behind: {error}")
    stage.rabbit.remove_vhost(VHOST)
