"""What the end-to-end tests share: a cluster, the installed release, a namespace for each.

Tests run beside each other in several processes, but for those marked `disruptive`. Those marked
`own_operator` come last: the operator that serves all namespaces is off then.
"""

import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import pytest

from e2e import own_release
from e2e.api import Api
from e2e.demo import SYSTEM_NAMESPACE, image_builds, install_chart, run_node
from e2e.kubectl import Helm, Kubectl
from e2e.manifests import namespace
from e2e.node import paths
from e2e.recorder import Recorder, start_recorder
from e2e.release import wait_ready
from e2e.space import Space
from e2e.system import RABBITMQ, System, rabbit_of_release

TEST_SECONDS = 180
_ROLLOUT_SECONDS = 180

MakeSpace = Callable[[], Space]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests that name none a timeout fit for a real cluster.

    It is of the test alone: the first one's fixtures bring up everything, and have timeouts too.
    """
    items.sort(key=is_last)
    put_long_first(items, getattr(config, "workerinput", {}).get("workercount", 1))
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))


def put_long_first(items: list[pytest.Item], processes: int) -> None:
    """Let each process begin with its part of the long tests, or the others wait for them.

    Each is given a share of the tests as they stand, as large as the others'.
    """
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    bounds = [len(others) * number // processes for number in range(processes + 1)]
    items.clear()
    for number in range(processes):
        items += long[number::processes] + others[bounds[number] : bounds[number + 1]]


def is_last(item: pytest.Item) -> bool:
    """Return whether a test runs without the operator that serves all namespaces."""
    return item.get_closest_marker("own_operator") is not None


def run_once(folders: pytest.TempPathFactory, name: str, action: Callable[[], None]) -> None:
    """Do something in one of the processes of a test run; the others wait for it."""
    folder = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all processes
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / f"{name}.done"
        if not done.exists():
            action()
            done.touch()


def bring_up() -> None:
    """Bring the cluster up, with the project's images of these sources."""
    run_node("up")
    if not paths.PREPARED.exists():
        pytest.exit(
            "the scenarios reach pods by their addresses and kill processes, which they cannot in "
            "a kind cluster: run them as root on Linux, with the node that is built from source. "
            "Where a Docker engine answers as well: make cluster-down, then "
            "DOCKER_HOST=unix:///none make test",
            returncode=1,
        )
    run_node("images")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Give a cluster that is up, with the project's images of these sources."""
    run_once(tmp_path_factory, "cluster", bring_up)
    api = Api()
    yield api
    api.close()


@pytest.fixture(scope="session")
def release(cluster: Api, tmp_path_factory: pytest.TempPathFactory) -> Api:
    """Give a cluster with the release that `make demo` installs too, not yet ready perhaps."""

    def install() -> None:
        install_chart(Helm(), image_builds()["operator"])

    run_once(tmp_path_factory, "release", install)
    return cluster


@pytest.fixture(scope="module")
def kubectl(release: Api) -> Iterator[Kubectl]:  # noqa: ARG001 - it installs the definitions
    """Give kubectl in a namespace of a module's own: the definitions are there, nothing more."""
    cluster = Kubectl(f"plain-{uuid.uuid4().hex[:6]}")
    cluster.apply([namespace(cluster.namespace)])
    yield cluster
    cluster.run("delete", "namespace", cluster.namespace, "--wait=false")


@pytest.fixture(scope="session")
def system(release: Api) -> System:
    """Give the release, ready; it serves all namespaces."""
    return wait_ready(release)


@pytest.fixture(scope="session")
def retired(release: Api, tmp_path_factory: pytest.TempPathFactory) -> System:
    """Give the release without its operator: whoever needs it later installs the chart anew."""
    kubectl = Kubectl(SYSTEM_NAMESPACE)
    kubectl.wait_rollout(f"statefulset/{RABBITMQ}", timeout_seconds=_ROLLOUT_SECONDS)
    system = System(release, rabbit_of_release(release))
    system.wait_broker()
    run_once(tmp_path_factory, "retired", partial(system.scale_operator, 0))
    return system


@pytest.fixture(scope="session")
def recorder(release: Api) -> Iterator[Recorder]:  # noqa: ARG001 - it gives the image
    """Give the pod that handlers tell of their runs."""
    kubectl = Kubectl(f"recorder-{uuid.uuid4().hex[:6]}")
    yield start_recorder(kubectl)
    kubectl.run("delete", "namespace", kubectl.namespace, "--wait=false")


@pytest.fixture(scope="module")
def make_space(
    system: System, recorder: Recorder, request: pytest.FixtureRequest
) -> Iterator[MakeSpace]:
    """Give a function that creates a namespace; those of a module are deleted at its end."""
    spaces: list[Space] = []
    module = cast(pytest.Module, request.node).name
    stem = re.sub(r"[^a-z]+", "-", module.rpartition("/")[2].removesuffix(".py").lower())

    def make() -> Space:
        space = Space(f"{stem}-{uuid.uuid4().hex[:6]}", system, recorder)
        space.create()
        spaces.append(space)
        return space

    yield make
    for space in spaces:
        remove(space)


@pytest.fixture
def space(recorder: Recorder, request: pytest.FixtureRequest) -> Iterator[Space]:
    """Give a namespace of the test's own, with an operator of its own where it is so marked."""
    test = re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_").lower())
    name = f"t-{test[:24].strip('-')}-{uuid.uuid4().hex[:6]}"
    own = is_last(request.node)
    system: System = request.getfixturevalue("retired" if own else "system")
    if own:
        system = System(system.api, system.rabbit.at(name), name)
    created = Space(name, system, recorder)
    created.create()
    if own:
        own_release.set_up(created)
    yield created
    if own:
        own_release.tear_down(created)
    remove(created)


def remove(space: Space) -> None:
    """Delete a namespace, without waiting for its end."""
    space.system.api.delete_namespace(space.name)
