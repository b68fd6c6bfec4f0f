"""A RabbitMQ in a scenario's own namespace, of any version, set up as the scenario wants."""

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from e2e.api import Object
from e2e.manifests import restricted_pod, secret
from e2e.node.project_images import RABBITMQ_VERSION
from e2e.rabbit import Rabbit
from e2e.space import Space
from e2e.system import find_process

FOLDER = "/etc/rabbitmq"
"""Where its files are."""

PLACE = "broker"
"""Pod and Service of a scenario's only broker."""
USER = "admin"
PASSWORD = "the password"
SECRET = "address"
"""The Secret with its address, for `spec.broker.secretRef`."""

_OPEN_CONFIG = f"""
default_user = {USER}
default_pass = {PASSWORD}
"""
_OPEN_PORTS = {"amqp": 5672, "management": 15672}
_BASE_CONFIG = """
loopback_users = none
log.console = true
log.file = false
"""
_RABBITMQ_UID = 999
_START_SECONDS = 120


def start_rabbit(
    space: Space,
    name: str,
    config: str,
    ports: Mapping[str, int],
    files: Mapping[str, str] | None = None,
    version: str = RABBITMQ_VERSION,
) -> None:
    """Start it at `NAME.NAMESPACE.svc`, and wait until it takes connections.

    config: lines of rabbitmq.conf. ports: by name; that of AMQP first. files: other files.
    """
    always = {"rabbitmq.conf": _BASE_CONFIG + config, "enabled_plugins": "[rabbitmq_management]."}
    (amqp, *_) = ports.values()
    space.apply(
        secret(name, always | dict(files or {})),
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": _pod(name, f"localhost/rabbitmq:{version}", amqp),
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {
                "selector": {"app": name},
                "ports": [{"name": port, "port": number} for port, number in ports.items()],
            },
        },
    )
    wait = ("wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={_START_SECONDS}s")
    space.kubectl.run(*wait, timeout_seconds=_START_SECONDS + 10)


def with_own_rabbit(space: Space, version: str = RABBITMQ_VERSION) -> Space:
    """Start a RabbitMQ in a namespace; return that as one whose TaskQueues can name it."""
    start_rabbit(space, PLACE, _OPEN_CONFIG, _OPEN_PORTS, version=version)
    rabbit = Rabbit(space.get("Service", PLACE)["spec"]["clusterIP"], USER, PASSWORD)
    fields = {"username": USER, "password": PASSWORD, "host": f"{PLACE}.{space.name}.svc"}
    space.apply(secret(SECRET, fields))
    return replace(space, system=replace(space.system, rabbit=rabbit))


def kill_rabbit(pod: Object) -> None:
    """End RabbitMQ by SIGKILL."""
    os.kill(find_process(pod, lambda command: command[0].endswith(b"/beam.smp")), signal.SIGKILL)


def _pod(name: str, image: str, port: int) -> dict[str, Any]:
    folders = {"data": "/var/lib/rabbitmq", "log": "/var/log/rabbitmq", "tmp": "/tmp"}  # noqa: S108
    mounts = [{"name": folder, "mountPath": path} for folder, path in folders.items()]
    container = {
        "name": "rabbitmq",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["rabbitmq-server"],
        "env": [{"name": "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "value": "+Q 65536"}],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        "volumeMounts": [*mounts, {"name": "config", "mountPath": FOLDER}],
    }
    spec = restricted_pod(
        container,
        volumes=[
            *({"name": folder, "emptyDir": {}} for folder in folders),
            {"name": "config", "secret": {"secretName": name}},
        ],
    )
    user = {"runAsUser": _RABBITMQ_UID, "runAsGroup": _RABBITMQ_UID, "fsGroup": _RABBITMQ_UID}
    spec["securityContext"] |= user
    return spec
