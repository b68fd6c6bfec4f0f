"""Two releases that serve a shard each, in the same namespaces and on the same vhost.

Each lies in one of the two namespaces, and has TaskQueues of both.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest

from e2e import own_release
from e2e.conftest import remove
from e2e.manifests import task
from e2e.space import Space, count_runs, holds_for
from e2e.system import System, name_of
from taskqueue_operator.domain.sharding import find_shard

pytestmark = [pytest.mark.own_operator, pytest.mark.timeout(300, func_only=True)]

SHARDS = 2
SECOND_OPERATOR = "taskqueue-2-operator"
"""Of a release with a name of its own: its Roles lie beside the other's in both namespaces."""


class Place(NamedTuple):
    """A TaskQueue of a scenario."""

    space: Space
    name: str
    shard: int


@dataclass(frozen=True)
class Pair:
    """Two namespaces, each with a release. second: its release is there once `serve` was called."""

    first: Space
    second: Space

    @property
    def spaces(self) -> tuple[Space, Space]:
        """Both."""
        return self.first, self.second

    def serve(self, space: Space, shard: str) -> None:
        """Let the release of a namespace serve a shard of both; empty: all."""
        names = [one.name for one in self.spaces]
        own_release.serve(space, *names, settings=[f"shard={shard}"])

    def operator_of(self, shard: int) -> System:
        """Return the release of a shard."""
        return self.spaces[shard - 1].system

    def place(self, space: Space, shard: int, what: str) -> Place:
        """Return the name of a TaskQueue that belongs to a shard."""
        names = (f"{what}-{number}" for number in range(100))
        name = next(one for one in names if find_shard(space.name, one, SHARDS) == shard)
        return Place(space, name, shard)

    def places(self, what: str) -> list[Place]:
        """Return one TaskQueue of each shard in each namespace."""
        return [
            self.place(space, shard, what)
            for space in self.spaces
            for shard in range(1, SHARDS + 1)
        ]


@pytest.fixture
def pair(space: Space) -> Iterator[Pair]:
    """Give a namespace more, for a second release on the same vhost."""
    name = f"{space.name}-b"
    system = replace(space.system, namespace=name, operator=SECOND_OPERATOR)
    second = Space(name, system, space.recorder)
    second.create()
    own_release.name_broker(second)
    yield Pair(space, second)
    # While both operators are there: each has finalizers to take away.
    try:
        for one in (second, space):
            own_release.delete_queues(one)
    finally:
        own_release.uninstall(second)
        remove(second)


def create_tasks(places: list[Place], what: str, count: int) -> None:
    """Create so many Tasks of each TaskQueue."""
    for place in places:
        place.space.create_all(
            task(f"{place.name}-{what}-{number}", place.name, "record") for number in range(count)
        )


def phases(place: Place, what: str) -> set[str]:
    """Return the phases of a TaskQueue's Tasks of one creation."""
    return {
        one["status"]["phase"]
        for one in place.space.tasks(f"spec.queue={place.name}")
        if one["metadata"]["name"].startswith(f"{place.name}-{what}-")
    }


def wait_succeeded(place: Place, what: str) -> None:
    """Wait until all of a TaskQueue's Tasks of one creation have succeeded."""
    place.space.wait(f"Tasks of {place.name} succeed", lambda: phases(place, what) == {"Succeeded"})


def pod_names(places: list[Place]) -> set[str]:
    """Return the names of the worker pods."""
    return {name_of(pod) for place in places for pod in place.space.pods(place.name)}


def dispatched(system: System, place: Place) -> float | None:
    """Return how many publications for a TaskQueue an operator counts; None: it knows of none."""
    labels = f'namespace="{place.space.name}",queue="{place.name}",verdict="confirmed"'
    return system.metric(f"taskqueue_dispatches_total{{{labels}}}")


def mentioned(system: System, places: list[Place]) -> set[tuple[str, str]]:
    """Return which of these TaskQueues an operator's log is about."""
    known = {(place.space.name, place.name) for place in places}
    records = system.logs()
    return known & {(str(one.get("namespace")), str(one.get("queue"))) for one in records}


@pytest.mark.long
def test_each_shard_is_served_by_its_operator_alone(pair: Pair) -> None:
    pair.serve(pair.first, f"1/{SHARDS}")
    pair.serve(pair.second, f"2/{SHARDS}")
    # Neither waits for the other's Lease.
    assert [pair.operator_of(shard).metric("taskqueue_leader") for shard in (1, 2)] == [1, 1]
    places = pair.places("work")
    for place in places:
        place.space.apply(place.space.scenario_queue(place.name))
    create_tasks(places, "early", 5)
    for space in pair.spaces:
        space.wait_tasks(5 * SHARDS)
        assert set(count_runs(space.runs()).values()) == {1}
    for place in places:
        counts = {shard: dispatched(pair.operator_of(shard), place) for shard in (1, 2)}
        assert counts == {place.shard: 5, 3 - place.shard: None}
    for shard in (1, 2):
        others = [place for place in places if place.shard != shard]
        assert mentioned(pair.operator_of(shard), others) == set()
    check_orphans(pair)
    check_one_stopped(pair, places)


def check_orphans(pair: Pair) -> None:
    """Fail unless one operator alone knows of a Task whose TaskQueue is not there."""
    for place in pair.places("nobody"):
        name = f"{place.name}-orphan"
        place.space.apply(task(name, place.name, "record"))
        place.space.wait_dispatched(name, "False", "QueueNotFound")
        gauge = f'taskqueue_tasks_held{{namespace="{place.space.name}",queue="{place.name}"}}'
        held = {shard: pair.operator_of(shard).metric(gauge) for shard in (1, 2)}
        assert held == {place.shard: 1, 3 - place.shard: None}
        place.space.kubectl.run("delete", "tasks.taskqueue.dev", name)


def check_one_stopped(pair: Pair, places: list[Place]) -> None:
    """Fail unless the Tasks of a shard without operator wait, and those of the other go on."""
    mine = [place for place in places if place.shard == 1]
    theirs = [place for place in places if place.shard == 2]
    pair.operator_of(1).scale_operator(0)
    try:
        create_tasks(places, "late", 5)
        for place in theirs:
            wait_succeeded(place, "late")
        waiting = {"Pending"}
        assert holds_for(lambda: all(phases(place, "late") == waiting for place in mine), 5)
        for place in mine:
            assert dispatched(pair.operator_of(2), place) is None
    finally:
        pair.operator_of(1).scale_operator(1)
    for space in pair.spaces:
        space.wait_tasks(10 * SHARDS)
        assert set(count_runs(space.runs()).values()) == {1}


@pytest.mark.long
def test_a_shard_is_added_while_tasks_are_created(pair: Pair) -> None:
    """As docs/sharding.md says: first those that are there, then the new one."""
    pair.serve(pair.first, "")
    places = pair.places("moved")
    for place in places:
        place.space.apply(place.space.scenario_queue(place.name))
    for place in places:
        place.space.wait_queue(place.name)
    workers = pod_names(places)
    create_tasks(places, "before", 10)
    pair.serve(pair.first, f"1/{SHARDS}")
    create_tasks(places, "between", 10)
    pair.serve(pair.second, f"2/{SHARDS}")
    create_tasks(places, "after", 10)
    for space in pair.spaces:
        space.wait_tasks(30 * SHARDS)
        assert set(count_runs(space.runs()).values()) == {1}
    assert pod_names(places) == workers  # they went on, whoever served them
    for place in places:
        assert dispatched(pair.operator_of(3 - place.shard), place) is None
