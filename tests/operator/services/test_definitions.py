"""Kinds that the cluster does not know yet are waited for, and named."""

import asyncio
from collections.abc import Callable
from typing import cast

from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.errors import ClusterUnavailableError
from taskqueue_operator.services.definitions import Definitions

Answer = set[str] | Exception
ALL: Answer = {"taskqueues", "tasks", "tasks/status"}


class Cluster:
    """An API server that answers as told, and calls back before each answer; the last one stays."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.before: Callable[[int], None] = lambda _: None

    async def served_kinds(self, api_version: str) -> set[str]:
        """Return the next answer."""
        assert api_version == "taskqueue.dev/v1beta1"
        self.asked += 1
        self.before(self.asked)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def build(cluster: Cluster) -> Definitions:
    """Return what is tested, without pauses."""
    return Definitions(cast(ClusterClient, cluster), pause=0)


async def test_nothing_is_waited_for_when_all_are_there() -> None:
    cluster = Cluster(ALL)
    definitions = build(cluster)
    await definitions.wait(asyncio.Event())
    assert (cluster.asked, definitions.faults()) == (1, [])


async def test_what_is_missing_is_named_until_it_comes() -> None:
    cluster = Cluster(set(), {"taskqueues"}, {"taskqueues"}, ALL)
    definitions = build(cluster)
    seen: list[list[str]] = []
    cluster.before = lambda _: seen.append(definitions.faults())
    await definitions.wait(asyncio.Event())
    assert [[fault.split()[0] for fault in faults] for faults in seen] == [
        [],
        ["taskqueues", "tasks"],
        ["tasks"],
        ["tasks"],
    ]
    assert "no definition of tasks.taskqueue.dev in taskqueue.dev/v1beta1" in seen[-1][0]
    assert definitions.faults() == []


async def test_an_api_server_that_is_away_says_nothing_about_kinds() -> None:
    cluster = Cluster({"taskqueues"}, ClusterUnavailableError(0, "away"), ALL)
    definitions = build(cluster)
    seen: list[int] = []
    cluster.before = lambda _: seen.append(len(definitions.faults()))
    await definitions.wait(asyncio.Event())
    assert seen == [0, 1, 1]


async def test_it_ends_when_told() -> None:
    stop = asyncio.Event()
    cluster = Cluster(set())
    cluster.before = lambda asked: stop.set() if asked == 3 else None
    await build(cluster).wait(stop)
    assert cluster.asked == 3
