"""What the tests of the chart share: the programs, and rendering."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from e2e.kubectl import CHECKOUT, Helm, Kubectl

CHART = CHECKOUT / "charts" / "taskqueue-operator"
RELEASE_NAMESPACE = "system"

Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Give the helm that the project built from source."""
    return Helm()


@pytest.fixture(scope="module")
def kubectl() -> Iterator[Kubectl]:
    """Give kubectl in a namespace of the test's own, which takes restricted pods only."""
    namespace = f"chart-{uuid.uuid4().hex[:8]}"
    cluster = Kubectl(namespace)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": namespace, "labels": labels}
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
    yield cluster
    cluster.run("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def render(helm: Helm) -> Render:
    """Give a function from values, as `--set` takes them, to the objects of a release `tq`."""

    def template(*settings: str) -> list[dict[str, Any]]:
        flags = [f"--set={setting}" for setting in settings]
        text = helm.run("template", "tq", CHART, "-n", RELEASE_NAMESPACE, *flags)
        return [document for document in yaml.safe_load_all(text) if document]

    return template
