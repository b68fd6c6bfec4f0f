"""Load images into the running node."""

import json
from pathlib import Path

from e2e.node import paths
from e2e.node.archives import Image
from e2e.node.console import run, step


def load_images(ctr: Path, images: list[Image]) -> None:
    """Import images into containerd, but for those it holds already with this content."""
    loaded = _loaded()
    for image in images:
        if loaded.get(image.reference) != image.key:
            with step(f"Loading {image.reference} ({image.sizes})"):
                client: list[str | Path] = [ctr, "-a", paths.CONTAINERD_SOCKET, "-n", "k8s.io"]
                run([*client, "images", "import", image.archive])
            loaded[image.reference] = image.key
            partial = paths.LOADED_IMAGES.with_suffix(".partial")
            partial.write_text(json.dumps(loaded))
            partial.rename(paths.LOADED_IMAGES)


def _loaded() -> dict[str, str]:
    # Lies in the state folder and so goes with containerd's own store.
    try:
        loaded: dict[str, str] = json.loads(paths.LOADED_IMAGES.read_text())
    except FileNotFoundError:
        return {}
    return loaded
