"""Python environments beside the project's own, of locked versions, for what it does not need."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from e2e.kubectl import CHECKOUT
from e2e.node.paths import cache_folder

RIVALS = CHECKOUT / "requirements" / "bench.txt"
PLOTS = CHECKOUT / "requirements" / "plots.txt"
_INSTALL_SECONDS = 600


def ensure_environment(requirements: Path) -> Path:
    """Return the folder of the environment; it is made where it is missing."""
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache_folder() / f"{requirements.stem}-venv-{key}"
    ready = folder / ".ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", folder])
        pip: list[str | Path] = [python_of(folder), "-m", "pip", "install", "--quiet"]
        _run([*pip, "--disable-pip-version-check", "--require-hashes", "-r", requirements])
        ready.touch()
    return folder


def python_of(folder: Path) -> Path:
    """Return an environment's interpreter."""
    return folder / "bin" / "python"


def packages_of(folder: Path) -> Path:
    """Return the folder of an environment's packages: none is bound to one version of Python."""
    (packages,) = folder.glob("lib/python*/site-packages")
    return packages


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, check=True, timeout=_INSTALL_SECONDS)
