"""The project's own images: built by buildah from a staged copy of the sources, and loaded.

A build needs no network: the wheels it installs are downloaded first, by their locked hashes.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from e2e.node import node, paths
from e2e.node.archives import Image, content_key, find_image, image_id, store_image
from e2e.node.base_images import BASE, BUILD_BASE, RABBITMQ, debian_image
from e2e.node.console import NodeError, run, say, step
from e2e.node.images import load_images

IMAGE_PYTHON = "3.13"
RABBITMQ_VERSION = "4.0"
_SOURCES = (
    "crds",
    "operator",
    "worker_image",
    "requirements",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
_IGNORED = ("__pycache__", ".*_cache", "*.egg-info", "*.pyc", ".venv", "build", "dist")
# One time for all staged files, so that buildah's layer cache sees no difference where the
# content has none. Not zero: a wheel is a zip file, which begins in 1980.
_STAGED_TIME = 1577836800
# Each build leaves its steps as layers to start from next time; beyond this all are dropped.
_MOST_CACHED_LAYERS = 100
# glibc versions that wheels are built for, up to that of the image's Debian (2.41).
_GLIBC_MINORS = (5, 12, 17, 24, 26, 27, 28, 31, 34, 35, 36, 38, 39, 40, 41)


@dataclass(frozen=True)
class ProjectImage:
    """One image of this project. Paths are below the checkout."""

    reference: str
    containerfile: str
    requirements: str


PROJECT_IMAGES = (
    ProjectImage(
        "localhost/taskqueue-worker:dev", "worker_image/Containerfile", "requirements/worker.txt"
    ),
    ProjectImage(
        "localhost/taskqueue-operator:dev", "operator/Containerfile", "requirements/operator.txt"
    ),
)


def build_and_load() -> None:
    """Build what has changed, and load it and the broker's image into the running node."""
    _load(
        partial(debian_image, RABBITMQ[RABBITMQ_VERSION]),
        *(partial(build_image, image, paths.CHECKOUT) for image in PROJECT_IMAGES),
    )


def load_rabbitmq(version: str) -> None:
    """Load the image of a RabbitMQ, for scenarios that need another one."""
    _load(partial(debian_image, RABBITMQ[version]))


def _load(*makers: Callable[[], Image]) -> None:
    node.check_machine()
    if not node.is_up():
        raise NodeError("The node is not up; bring it up first: `python -m e2e.node up`.")
    with node.exclusive():
        for make in makers:
            image = make()
            load_images(node.ctr(), [image])
            say(f"{image.reference}: {image.sizes}")


def build_image(image: ProjectImage, checkout: Path) -> Image:
    """Return a project image made of the checkout's sources as they are now."""
    base, build_base = debian_image(BASE), debian_image(BUILD_BASE)
    with staged_context(image, checkout) as context:
        key = content_key(image.containerfile, base.key, build_base.key, folder_digest(context))
        if found := find_image(image.reference, key):
            return found
        with step(f"Building {image.reference}"):
            _pull([base, build_base])
            return store_image(
                image.reference, key, lambda target: _buildah_build(image, context, target)
            )


@contextmanager
def staged_context(image: ProjectImage, checkout: Path) -> Iterator[Path]:
    """Give a folder with what an image is built from: the sources and `wheels/`."""
    for needed in (image.containerfile, image.requirements):
        if not (checkout / needed).is_file():
            raise NodeError(f"{needed} is missing, and {image.reference} is built from it.")
    wheels = _wheels(checkout / image.requirements)
    with tempfile.TemporaryDirectory(prefix="taskqueue-context-") as folder:
        context = Path(folder)
        for name in _SOURCES:
            source = checkout / name
            if source.is_dir():
                shutil.copytree(source, context / name, ignore=shutil.ignore_patterns(*_IGNORED))
            elif source.exists():
                shutil.copy(source, context / name)
        shutil.copytree(wheels, context / "wheels")
        for path in [context, *context.rglob("*")]:
            os.utime(path, (_STAGED_TIME, _STAGED_TIME), follow_symlinks=False)
        yield context


def folder_digest(folder: Path) -> str:
    """Return a digest of a folder's files: their paths, whether executable, and contents."""
    parts: list[str | bytes] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            parts += [str(path.relative_to(folder)), str(os.access(path, os.X_OK))]
            parts.append(path.read_bytes())
    return content_key(*parts)


def _wheels(requirements: Path) -> Path:
    """Return a folder with the wheels of a locked requirements file, for the image's Python."""
    arguments = _download_arguments(platform.machine())
    key = content_key(requirements.read_bytes(), *arguments)
    ready = paths.cache_folder() / "wheels" / f"{requirements.stem}-{key}"
    if ready.exists():
        return ready
    ready.parent.mkdir(parents=True, exist_ok=True)
    prefix = ".downloading-"
    pip = [sys.executable, "-m", "pip", "download", "-q"]
    with (
        step(f"Downloading the wheels of {requirements.name}"),
        tempfile.TemporaryDirectory(dir=ready.parent, prefix=prefix) as folder,
    ):
        target = Path(folder) / "wheels"
        run(
            [*pip, *arguments, "-d", target, "-r", requirements],
            hint="Is the package index that pip uses reachable?",
        )
        target.mkdir(exist_ok=True)  # pip makes none where nothing is required
        target.rename(ready)
    return ready


def _download_arguments(machine: str) -> list[str]:
    # Every platform is named, since pip would otherwise look for this machine's, which may be
    # another system (with a Docker engine) or have an older C library than the image.
    machine = {"arm64": "aarch64"}.get(machine, machine)
    tags = [f"--platform=manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS]
    tags += [f"--platform=manylinux{name}_{machine}" for name in ("1", "2010", "2014")]
    return [
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        f"--python-version={IMAGE_PYTHON}",
        "--implementation=cp",
        *tags,
    ]


def _buildah(arguments: list[str | Path], *, cwd: Path | None = None) -> str:
    storage = paths.cache_folder() / "buildah"
    storage.mkdir(parents=True, exist_ok=True)
    # In mount namespaces of their own: buildah would leave its storage mounted.
    namespace = ["unshare", "--mount", "--propagation", "private"]
    options: list[str | Path] = ["--root", storage / "root", "--runroot", paths.RUN / "buildah"]
    options += ["--storage-driver", _storage_driver(storage)]
    return run([*namespace, "buildah", *options, *arguments], cwd=cwd)


def _storage_driver(storage: Path) -> str:
    """Return `overlay`, some ten times as fast, where the cache's file system can hold it."""
    with tempfile.TemporaryDirectory(dir=storage) as folder:
        for name in ("lower", "upper", "work", "merged"):
            Path(folder, name).mkdir()
        mount = "mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged"
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return "overlay" if done.returncode == 0 else "vfs"


def _pull(bases: list[Image]) -> None:
    """Put base images into buildah's storage, unless these very ones are there."""
    listed = _buildah(["images", "--no-trunc", "--format", "{{.Name}}:{{.Tag}} {{.ID}}"])
    present = set(listed.splitlines())
    if len(_buildah(["images", "--all", "--quiet"]).split()) > _MOST_CACHED_LAYERS:
        _buildah(["rmi", "--all", "--force"])
        present = set()
    for base in bases:
        if f"{base.reference} sha256:{image_id(base.archive)}" not in present:
            _buildah(["pull", "-q", f"docker-archive:{base.archive}"])


def _buildah_build(image: ProjectImage, context: Path, target: Path) -> None:
    arguments = [f"BUILD_BASE={BUILD_BASE.reference}", f"BASE={BASE.reference}"]
    build: list[str | Path] = ["build", "--isolation", "chroot", "--layers", "--pull-never"]
    build += [f"--build-arg={argument}" for argument in arguments]
    build += ["-t", image.reference, "-f", context / image.containerfile, context]
    _buildah(build)
    _buildah(["push", "-q", image.reference, f"docker-archive:{target}:{image.reference}"])
