"""Compile the locked requirements from the pyproject files: `make lock`.

The compiled files name no registry, so that they work behind any mirror.
"""

import subprocess
import sys

OPTIONS = [
    "--quiet",
    "--universal",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
    "--no-annotate",
    "--upgrade",
    "--python-version=3.11",
    *(
        option
        for package in ("taskqueue", "taskqueue-api", "taskqueue-operator", "taskqueue-worker")
        for option in ("--no-emit-package", package)
    ),
]

FILES = [
    (["worker_image/pyproject.toml"], "worker.txt"),
    (["operator/pyproject.toml", "-c", "requirements/worker.txt"], "operator.txt"),
    (["pyproject.toml", "--group", "dev", "-c", "requirements/operator.txt"], "dev.txt"),
    # Of a group alone: these are installed apart from the project.
    (["--group", "pyproject.toml:bench", "-c", "requirements/worker.txt"], "bench.txt"),
    (["--group", "pyproject.toml:plots"], "plots.txt"),
]


def main() -> int:
    """Return the exit code of the first compilation that fails."""
    for sources, target in FILES:
        command = [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, *sources]
        result = subprocess.run([*command, "-o", f"requirements/{target}"], check=False)
        if result.returncode:
            return result.returncode
        print(f"locked requirements/{target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
