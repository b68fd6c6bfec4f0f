"""Image archives (the format of `docker save`): written, measured, and kept in the cache."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from e2e.node.console import NodeError
from e2e.node.paths import cache_folder

_CHUNK_BYTES = 1 << 20
# Older builds of the same image are kept in case a change is undone, but not for ever.
_KEPT_BUILDS = 2
_CREATED = "2020-01-01T00:00:00Z"
_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Sizes:
    """An image's layers together, in bytes: as files, and as a registry would hold them."""

    uncompressed: int
    compressed: int

    def __str__(self) -> str:
        """Return both in MB, for people."""
        return f"{self.uncompressed / 1e6:.0f} MB, {self.compressed / 1e6:.0f} MB compressed"


@dataclass(frozen=True)
class Image:
    """An archive in the cache. key: what it was made of; another key, another content."""

    reference: str
    key: str
    archive: Path
    sizes: Sizes


def content_key(*parts: str | bytes) -> str:
    """Return a short name for the content an image is made of."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def find_image(reference: str, key: str) -> Image | None:
    """Return the image made of exactly this content; None: the cache has none."""
    folder = _folder(reference) / key
    try:
        sizes = Sizes(**json.loads((folder / "sizes.json").read_text()))
    except FileNotFoundError:
        return None
    os.utime(folder)  # so that what was used last is kept longest
    return Image(reference, key, folder / "image.tar", sizes)


def store_image(reference: str, key: str, write: Callable[[Path], None]) -> Image:
    """Put an image into the cache: write gets the path of the archive to be written."""
    folder = _folder(reference) / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when complete, so an interrupted build never looks like a finished one.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as temporary:
        target = Path(temporary) / "image"
        target.mkdir()
        write(target / "image.tar")
        sizes = measure(target / "image.tar")
        (target / "sizes.json").write_text(json.dumps(asdict(sizes)))
        if not folder.exists():
            target.rename(folder)
    _drop_old_builds(folder.parent)
    return Image(reference, key, folder / "image.tar", sizes)


def _folder(reference: str) -> Path:
    return cache_folder() / "images" / reference.rpartition("/")[2].replace(":", "-")


def _drop_old_builds(folder: Path) -> None:
    builds = [path for path in folder.iterdir() if not path.name.startswith(".")]
    builds.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in builds[_KEPT_BUILDS:]:
        shutil.rmtree(path)


def write_archive(
    target: Path, reference: str, layer: Path, config: Mapping[str, Any], machine: str
) -> None:
    """Write an image of one layer.

    layer: an uncompressed tar. config: as in the OCI image specification (Cmd, Env, User).
    machine: as `uname -m` says it.
    """
    with layer.open("rb") as file:
        layer_digest = hashlib.file_digest(file, "sha256").hexdigest()
    document = {
        "architecture": _GO_ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": dict(config),
        # Both are optional, but buildah asks for a line of history per layer.
        "created": _CREATED,
        "history": [{"created": _CREATED, "created_by": reference}],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
    }
    config_bytes = json.dumps(document).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as archive:
        archive.add(layer, "layer.tar")
        _add_bytes(archive, config_name, config_bytes)
        _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def measure(archive: Path) -> Sizes:
    """Return the sizes of an archive's layers."""
    with tarfile.open(archive) as tar:
        manifest = _manifest(tar)
        digests = _read_json(tar, manifest["Config"])["rootfs"]["diff_ids"]
        layers = zip(manifest["Layers"], digests, strict=True)
        sizes = [_measure_layer(tar, layer, digest) for layer, digest in layers]
    return Sizes(sum(one.uncompressed for one in sizes), sum(one.compressed for one in sizes))


def _measure_layer(tar: tarfile.TarFile, layer: str, digest: str) -> Sizes:
    # Compressing takes seconds, and most layers of an image stay as they are when it is rebuilt.
    known = cache_folder() / "layer-sizes" / digest.replace(":", "-")
    if known.exists():
        return Sizes(**json.loads(known.read_text()))
    uncompressed = compressed = 0
    packer = zlib.compressobj()
    with _member(tar, layer) as file:
        while chunk := file.read(_CHUNK_BYTES):
            uncompressed += len(chunk)
            compressed += len(packer.compress(chunk))
    sizes = Sizes(uncompressed, compressed + len(packer.flush()))
    known.parent.mkdir(parents=True, exist_ok=True)
    partial = known.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(sizes)))
    partial.rename(known)
    return sizes


def image_id(archive: Path) -> str:
    """Return the digest of an archive's configuration, which container tools call its id."""
    with tarfile.open(archive) as tar:
        return str(_manifest(tar)["Config"]).removesuffix(".json").rpartition("/")[2]


def _manifest(tar: tarfile.TarFile) -> dict[str, Any]:
    manifest: dict[str, Any] = _read_json(tar, "manifest.json")[0]
    return manifest


def _read_json(tar: tarfile.TarFile, name: str) -> Any:
    with _member(tar, name) as file:
        return json.load(file)


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    member = tar.extractfile(name)
    if member is None:
        raise NodeError(f"{tar.name!s}: {name} is not a file; remove the archive and try again.")
    return member
