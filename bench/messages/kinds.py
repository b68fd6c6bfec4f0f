"""Messages a second of one slot, by the kind of its handlers and the size of payloads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.figures import Readings
from bench.messages.http_app import PORT
from bench.messages.rates import drain_rate
from bench.messages.stage import open_stage
from bench.messages.systems import PYTHON_WORKERS, Ours

_KIB = 1024
_SIDECAR: Mapping[str, Any] = {
    "name": "server",
    "command": ["python3", "/app/http_app.py"],
    "volumeMounts": PYTHON_WORKERS["template"]["volumeMounts"],
    "startupProbe": {"httpGet": {"port": PORT}, "periodSeconds": 1, "failureThreshold": 60},
}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "python": PYTHON_WORKERS,
    # The least program that reads JSON and prints JSON: the payload is its result.
    "exec": {"handlers": {"exec": {"command": ["cat"]}}},
    "http": {
        "handlers": {"http": {"url": f"http://localhost:{PORT}/"}},
        "template": {
            "volumes": PYTHON_WORKERS["template"]["volumes"],
            "sidecars": [_SIDECAR],
        },
    },
}
"""`spec.workers` of each kind of handlers, but for their number."""


@dataclass(frozen=True)
class Sized:
    """One kind of handlers that do nothing, with payloads of one size.

    kind: of KINDS. kib: the payload as JSON. messages: for some seconds.
    """

    kind: str
    kib: float
    messages: int
    slots: int = 1

    @property
    def figure(self) -> str:
        """Return the name of its figure."""
        return f"messages_per_slot_{self.kind}_{self.kib:g}_kib".replace(".", "_")

    @property
    def options(self) -> list[str]:
        """Return those of the publisher."""
        return [f"--bytes={round(self.kib * _KIB)}"]


CELLS = (
    Sized("python", 0.1, 30000),
    Sized("python", 1, 25000),
    Sized("python", 8, 12000),
    Sized("python", 32, 5000),
    Sized("exec", 0.1, 3000),
    Sized("http", 0.1, 5000),
)
_TURNS = 3


def measure(readings: Readings) -> None:
    """Take some runs of each, in turns, on a stage of their own."""
    with open_stage() as stage:
        queues = {kind: Ours(stage, kind, workers) for kind, workers in KINDS.items()}
        for cell in CELLS * _TURNS:
            readings.add(cell.figure, "1/s", drain_rate(queues[cell.kind].drain(cell)))
