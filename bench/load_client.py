"""The Go client of `bench/client`: built when it is needed, and run."""

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.kubectl import KUBECONFIG
from e2e.node.binaries import ensure_go, go_line
from e2e.node.console import run, step
from e2e.node.paths import cache_folder

_SOURCE = Path(__file__).parent / "client"
_CONCURRENCY = 16


@dataclass(frozen=True)
class Measured:
    """What a load gave. Times are seconds; one value for each object, in their order.

    created: from before the create to its answer; started: to the time that the handler returned;
    finished: to the sight of the end. The last two are empty where no end was awaited.
    patched: from before the first patch to the answer of the last.
    """

    count: int
    seconds: float
    created: list[float]
    started: list[float]
    finished: list[float]
    patched: list[float]

    @property
    def rate(self) -> float:
        """Objects a second, to the last answer or the last end."""
        return self.count / self.seconds


class LoadClient:
    """Runs loads against the API server of a kubeconfig that holds its certificates itself."""

    def __init__(self, kubeconfig: Path = KUBECONFIG) -> None:
        self._binary = _ensure_binary()
        document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        self._server: str = document["clusters"][0]["cluster"]["server"]
        user = document["users"][0]["user"]
        self._secrets = {
            "ca": document["clusters"][0]["cluster"]["certificate-authority-data"],
            "cert": user["client-certificate-data"],
            "key": user["client-key-data"],
        }

    def run(
        self,
        path: str,
        body: Mapping[str, Any],
        prefix: str,
        count: int,
        *,
        concurrency: int = _CONCURRENCY,
        patch: Sequence[Mapping[str, Any]] = (),
        patches: int = 0,
        rate: float = 0.0,
        awaited: str = "",
        alone: bool = False,
    ) -> Measured:
        """Create `count` objects and return what was measured.

        path: of the collection. body: the object, without a name; names begin with `prefix`.
        patch: JSON Patch of the status, sent `patches` times after each create, with the
            string STEP replaced by the number 2, 3 and so on. A merge patch costs the API server
            more.
        rate: creates per second, 0: no limit. awaited: selector of the finished, to wait for.
        alone: create each only when the one before has finished. Raises NodeError.
        """
        metadata = {**body.get("metadata", {}), "name": "NAME"}
        options: dict[str, Any] = {
            "server": self._server,
            "path": path,
            "body": json.dumps({**body, "metadata": metadata}),
            "prefix": prefix,
            "count": count,
            "concurrency": 1 if alone else concurrency,
            "patch": json.dumps(list(patch)),
            "patches": patches,
            "rate": rate,
            "await": awaited,
            "alone": str(alone).lower(),
        }
        with tempfile.TemporaryDirectory() as folder:
            for name, text in self._secrets.items():
                file = Path(folder) / name
                file.touch(mode=0o600)
                file.write_bytes(base64.b64decode(text))
                options[name] = file
            arguments = [f"-{name}={value}" for name, value in options.items()]
            answer = json.loads(run([str(self._binary), *arguments], cwd=Path("/")))
        return Measured(
            answer["count"],
            answer["seconds"],
            answer["created"],
            answer.get("started", []),
            answer.get("finished", []),
            answer.get("patched", []),
        )


def _ensure_binary() -> Path:
    sources = sorted([*_SOURCE.glob("*.go"), _SOURCE / "go.mod"])
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    binary = cache_folder() / "bin" / f"bench-client-{digest}" / "client"
    if not binary.exists():
        go = ensure_go(go_line((_SOURCE / "go.mod").read_text()))
        with step("Building the client of the benchmarks"):
            env = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
            command: list[str | Path] = [go, "build", "-trimpath", "-buildvcs=false", "-o", binary]
            run(command, cwd=_SOURCE, env=env)
    return binary
