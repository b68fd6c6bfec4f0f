"""kubectl and helm for scenarios on the cluster that `python -m e2e.node up` started.

Neither ever reads or writes the user's own configuration.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parent.parent
KUBECONFIG = CHECKOUT / ".cluster" / "kubeconfig"
BIN = CHECKOUT / ".cluster" / "bin"
"""Where the cluster's starter puts kubectl and helm."""

_POLL_SECONDS = 0.25
_LOG_TAIL_LINES = 30
# For a command to end that does not itself wait for something.
_COMMAND_SECONDS = 60


class CommandError(Exception):
    """A program ended with another status than 0; the text holds what it said."""


class WaitTimeoutError(Exception):
    """Something did not happen in time; the text says how things stood."""


class Kubectl:
    """kubectl on one cluster, and in one namespace where none is named."""

    def __init__(
        self,
        namespace: str = "default",
        *,
        kubeconfig: Path = KUBECONFIG,
        binary: Path = BIN / "kubectl",
    ) -> None:
        """kubeconfig, binary: those of the project's cluster by default."""
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        self._binary = binary

    def in_namespace(self, namespace: str) -> "Kubectl":
        """Return the same for another namespace."""
        return Kubectl(namespace, kubeconfig=self._kubeconfig, binary=self._binary)

    def run(
        self, *arguments: str, stdin: str | None = None, timeout_seconds: float = _COMMAND_SECONDS
    ) -> str:
        """Return what kubectl prints. Raises CommandError with what it complains about."""
        command: list[str | Path] = [self._binary, "--kubeconfig", self._kubeconfig]
        command += ["-n", self.namespace, *arguments]
        return run_command(command, stdin=stdin, timeout_seconds=timeout_seconds)

    def is_successful(self, *arguments: str, stdin: str | None = None) -> bool:
        """Return whether kubectl ends with status 0, as `auth can-i` does for yes."""
        try:
            self.run(*arguments, stdin=stdin)
        except CommandError:
            return False
        return True

    def apply(self, documents: Iterable[Mapping[str, Any]]) -> str:
        """Create or change objects; return a line for each."""
        return self.run("apply", "-f", "-", stdin=yaml.safe_dump_all(documents, sort_keys=False))

    def get_json(self, *arguments: str) -> Any:
        """Return an object, or a list's `items`. Raises CommandError when it is not there."""
        found = json.loads(self.run("get", *arguments, "-o", "json"))
        return found["items"] if found.get("kind") == "List" else found

    def find_json(self, *arguments: str) -> Any | None:
        """Return an object; None: it is not there."""
        text = self.run("get", *arguments, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text else None

    def wait_rollout(self, workload: str, *, timeout_seconds: float) -> None:
        """Wait until a `deployment/NAME` or `statefulset/NAME` runs as it should.

        Raises WaitTimeoutError with the namespace's diagnosis.
        """
        arguments = ("rollout", "status", workload, f"--timeout={timeout_seconds:.0f}s")
        try:
            self.run(*arguments, timeout_seconds=timeout_seconds + _COMMAND_SECONDS)
        except CommandError as error:
            raise WaitTimeoutError(f"{error}\n{self.diagnose()}") from error

    def diagnose(self) -> str:
        """Return the namespace's pods, Events and the end of each pod's log, for people."""
        parts = [
            self._try("get", "pods", "-o", "wide"),
            self._try("get", "events", "--sort-by=.lastTimestamp"),
        ]
        for pod in self._try("get", "pods", "-o", "name").split():
            logs = self._try("logs", pod, "--all-containers", f"--tail={_LOG_TAIL_LINES}")
            parts += [f"--- the end of the log of {self.namespace}/{pod}", logs]
        return "\n".join(parts)

    def _try(self, *arguments: str) -> str:
        """Return what kubectl prints, or complains about: a diagnosis shows what it can."""
        try:
            return self.run(*arguments)
        except CommandError as error:
            return str(error)


class Helm:
    """helm on one cluster."""

    def __init__(self, *, kubeconfig: Path = KUBECONFIG, binary: Path = BIN / "helm") -> None:
        """kubeconfig, binary: those of the project's cluster by default."""
        self._kubeconfig = kubeconfig
        self._binary = binary

    def run(self, *arguments: str | Path, timeout_seconds: float = _COMMAND_SECONDS) -> str:
        """Return what helm prints. Raises CommandError with what it complains about."""
        # The user's own repositories and plugins are left out.
        home = self._kubeconfig.parent / "helm"
        folders = {f"HELM_{kind}_HOME": f"{home}/{kind.lower()}" for kind in _HELM_FOLDERS}
        return run_command(
            [self._binary, "--kubeconfig", self._kubeconfig, *arguments],
            env={**os.environ, **folders},
            timeout_seconds=timeout_seconds,
        )


_HELM_FOLDERS = ("CACHE", "CONFIG", "DATA")


def run_command(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = _COMMAND_SECONDS,
) -> str:
    """Return a program's standard output. Raises CommandError for any status but 0."""
    argv = [str(part) for part in command]
    shown = " ".join([Path(argv[0]).name, *argv[1:]])
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            env=env,
            capture_output=True,
            # A pod may print anything.
            encoding="utf-8",
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]} is missing: `make cluster-up` puts it there") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"`{shown}` did not end within {timeout_seconds:.0f} s") from error
    if done.returncode != 0:
        raise CommandError(f"`{shown}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_for(
    condition: Callable[[], T | None], *, timeout_seconds: float, describe: Callable[[], str]
) -> T:
    """Return what a condition gives as soon as it is true.

    describe: called when it is not in time; what it returns is the text of the
        WaitTimeoutError.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise WaitTimeoutError(f"after {timeout_seconds:.0f} s: {describe()}")
        time.sleep(_POLL_SECONDS)
