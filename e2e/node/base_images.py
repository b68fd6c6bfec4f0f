"""Images made with no registry: Debian's packages, and single static programs.

They stand in for the public images that the Containerfiles name by default.
"""

import platform
import shutil
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.node.archives import Image, content_key, find_image, store_image, write_archive
from e2e.node.binaries import (
    ensure_binaries,
    kubernetes_version,
    node_modules,
    source_folder,
)
from e2e.node.configuration import PAUSE_IMAGE
from e2e.node.console import run, step
from e2e.node.packages import debian_mirror

COREDNS_IMAGE = "localhost/coredns:1.15"

_LEFT_OUT = ("man/*", "doc/*", "info/*", "locale/*", "lintian/*")
# What only apt and debconf need, and what maintainer scripts logged.
_CLEANED = (
    'rm -rf "$1"/var/cache/* "$1"/var/lib/apt "$1"/var/log/* "$1"/tmp/* "$1"/var/lib/dpkg/*-old'
)
# The uid of the public image: a chart's securityContext then fits both. Debian would choose one.
_RABBITMQ_UID = 999
_RABBITMQ_USER = (
    f"echo rabbitmq:x:{_RABBITMQ_UID}:{_RABBITMQ_UID}::/var/lib/rabbitmq:/usr/sbin/nologin"
    ' >> "$1"/etc/passwd'
    f' && echo rabbitmq:x:{_RABBITMQ_UID}: >> "$1"/etc/group'
)
# `rabbitmq-plugins enable --offline` fails in a build, so the file is written by hand. The rest
# is what the public image sets: guests from other hosts, and the log on the console.
_RABBITMQ_FILES = (
    'mkdir -p "$1"/etc/rabbitmq/conf.d'
    " && echo '[rabbitmq_management,rabbitmq_prometheus].' > \"$1\"/etc/rabbitmq/enabled_plugins"
    " && printf 'loopback_users = none\\nlog.console = true\\n'"
    ' > "$1"/etc/rabbitmq/conf.d/10-defaults.conf'
)


@dataclass(frozen=True)
class DebianImage:
    """An image of Debian packages. config: as in the OCI image specification."""

    reference: str
    suite: str
    packages: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    # Shell commands with the root folder as $1: before the packages are unpacked, and after.
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def _rabbitmq(version: str, suite: str) -> DebianImage:
    path = "/usr/lib/rabbitmq/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = [
        # First, since Debian's wrappers in /usr/sbin insist on the user root or rabbitmq by name.
        f"PATH={path}",
        "HOME=/var/lib/rabbitmq",
        "LANG=C.UTF-8",
        "RABBITMQ_LOGS=-",
    ]
    return DebianImage(
        f"localhost/rabbitmq:{version}",
        suite,
        ("rabbitmq-server",),
        {"User": str(_RABBITMQ_UID), "Env": env, "Cmd": ["rabbitmq-server"]},
        before=(_RABBITMQ_USER,),
        after=(_RABBITMQ_FILES,),
    )


_PYTHON_CONFIG = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"], "Cmd": ["python3"]}
BASE = DebianImage(
    "localhost/taskqueue-base:trixie", "trixie", ("python3", "ca-certificates"), _PYTHON_CONFIG
)
BUILD_BASE = DebianImage(
    "localhost/taskqueue-build:trixie",
    "trixie",
    ("python3", "python3-pip", "python3-venv", "ca-certificates"),
    _PYTHON_CONFIG,
)
# Every RabbitMQ that Debian has packaged of late, by version.
RABBITMQ = {
    version: _rabbitmq(version, suite)
    for version, suite in (("3.10", "bookworm"), ("4.0", "trixie"), ("4.3", "sid"))
}


def debian_image(image: DebianImage) -> Image:
    """Return an image of Debian packages, made by mmdebstrap if the cache has none."""
    key = content_key(repr(image), repr(_mmdebstrap_options(image)))
    found = find_image(image.reference, key)
    if found:
        return found

    def write(target: Path) -> None:
        layer = target.with_name("layer.tar")
        run(
            ["mmdebstrap", *_mmdebstrap_options(image), image.suite, layer, debian_mirror()],
            hint="Is the Debian mirror reachable?",
        )
        write_archive(target, image.reference, layer, image.config, platform.machine())
        layer.unlink()

    with step(f"Making {image.reference} from Debian packages (about 30 s)"):
        return store_image(image.reference, key, write)


def _mmdebstrap_options(image: DebianImage) -> list[str]:
    return [
        "--mode=root",
        "--format=tar",
        # Less than minbase: no apt.
        "--variant=essential",
        "--include=" + ",".join(image.packages),
        *(f"--dpkgopt=path-exclude=/usr/share/{pattern}" for pattern in _LEFT_OUT),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        # sid's Release file is often past its date on a mirror that is not the newest.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        *(f"--essential-hook={command}" for command in image.before),
        *(f"--customize-hook={command}" for command in (*image.after, _CLEANED)),
    ]


def pause_image() -> Image:
    """Return the image of a pod's first process, compiled from Kubernetes' own pause.c."""
    kubernetes = node_modules()[0]
    key = content_key(kubernetes_version((kubernetes.folder / "go.mod").read_text()))

    def write(target: Path) -> None:
        source = source_folder(kubernetes, "k8s.io/kubernetes") / "build/pause/linux/pause.c"
        program = target.with_name("pause")
        run(["gcc", "-Os", "-static", "-o", program, source])
        _write_program_image(target, PAUSE_IMAGE, program, user="65535:65535")

    return find_image(PAUSE_IMAGE, key) or store_image(PAUSE_IMAGE, key, write)


def coredns_image() -> Image:
    """Return the image of the cluster's name server: the program and nothing else."""
    module = next(module for module in node_modules() if module.name == "coredns")
    folder = ensure_binaries(module)
    key = content_key(folder.name)

    def write(target: Path) -> None:
        program = target.with_name("coredns")
        shutil.copyfile(folder / "coredns", program)
        _write_program_image(target, COREDNS_IMAGE, program, user="0")

    return find_image(COREDNS_IMAGE, key) or store_image(COREDNS_IMAGE, key, write)


def _write_program_image(target: Path, reference: str, program: Path, *, user: str) -> None:
    program.chmod(0o755)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        layer = Path(folder) / "layer.tar"
        with tarfile.open(layer, "w") as tar:
            tar.add(program, program.name, filter=_owned_by_root)
        config = {"User": user, "Entrypoint": [f"/{program.name}"], "WorkingDir": "/"}
        write_archive(target, reference, layer, config, platform.machine())
    program.unlink()


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
