"""A pod that keeps what handlers tell it: which attempt of which Task ran, and where."""

import json
from dataclasses import dataclass
from typing import Any

import httpx

from e2e.kubectl import Kubectl
from e2e.manifests import (
    HANDLERS_CONFIG,
    WORKER_IMAGE,
    mounted_config,
    namespace,
    restricted_pod,
)

_NAME = "recorder"
_PORT = 8080
_START_SECONDS = 120


@dataclass(frozen=True)
class Run:
    """What a handler told. event: `run`, or `start` and `end`. time: seconds since 1970."""

    event: str
    uid: str
    attempt: int
    name: str
    pod: str
    payload: Any
    time: float = 0.0


class Recorder:
    """The recorder, as the scenarios see it. url: for pods, and from here."""

    def __init__(self, url: str) -> None:
        self.url = url

    def runs(self, namespace: str, event: str = "run") -> list[Run]:
        """Return what the handlers of a namespace told, oldest first."""
        answer = httpx.get(f"{self.url}/{namespace}", timeout=30, trust_env=False)
        answer.raise_for_status()
        entries = [Run(**json.loads(line)) for line in answer.content.splitlines() if line]
        return [entry for entry in entries if entry.event == event]

    def let_go(self, namespace: str) -> None:
        """Let the handlers of a namespace end that hold."""
        answer = httpx.post(f"{self.url}/{namespace}/gate", content=b"go", trust_env=False)
        answer.raise_for_status()


def start_recorder(kubectl: Kubectl) -> Recorder:
    """Start a recorder in a namespace of its own, which is created."""
    kubectl.apply([namespace(kubectl.namespace)])
    container = {
        "name": _NAME,
        # Asked once: a busy machine that is late with an answer must not cut off the handlers.
        "startupProbe": {
            "httpGet": {"path": "/ready", "port": _PORT},
            "periodSeconds": 1,
            "failureThreshold": _START_SECONDS,
        },
        "image": WORKER_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "/app/recorder.py"],
        "ports": [{"containerPort": _PORT}],
        "volumeMounts": [{"name": "code", "mountPath": "/app"}],
    }
    volumes = [{"name": "code", "configMap": {"name": HANDLERS_CONFIG}}]
    labels = {"app": _NAME}
    kubectl.apply(
        [
            mounted_config(),
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": _NAME, "labels": labels},
                "spec": restricted_pod(container, volumes=volumes),
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": _NAME},
                "spec": {"selector": labels, "ports": [{"port": _PORT}]},
            },
        ]
    )
    wait = ("wait", "--for=condition=Ready", f"pod/{_NAME}", f"--timeout={_START_SECONDS}s")
    kubectl.run(*wait, timeout_seconds=_START_SECONDS + 10)
    address = kubectl.get_json("service", _NAME)["spec"]["clusterIP"]
    return Recorder(f"http://{address}:{_PORT}")
