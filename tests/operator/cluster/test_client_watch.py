"""Watches: events as they come, and how they end."""

import json
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client as kubernetes_client

from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.errors import ClusterError, ClusterUnavailableError
from tests.operator.cluster.server import TASKS, V1BETA1, Server


def events(*items: dict[str, Any], rest: str = "") -> web.Response:
    """Return a watch's answer."""
    return web.Response(text="".join(f"{json.dumps(item)}\n" for item in items) + rest)


async def test_a_watch_gives_events_as_they_come(server: Server, client: ClusterClient) -> None:
    shown = [{"type": "ADDED", "object": {"a": "ü" * 100_000}}, {"type": "BOOKMARK", "object": {}}]
    server.answers.append(events(*shown, rest='{"type": "cut o'))
    found = [one async for one in client.watch_tasks(V1BETA1, "shop", "spec.rerun!=0", "7")]
    assert found == shown
    assert server.last["path"] == TASKS
    assert server.last["query"] == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "240",
        "fieldSelector": "spec.rerun!=0",
        "resourceVersion": "7",
    }


@pytest.mark.parametrize("told", ["by an event", "at once"])
async def test_a_watch_from_a_version_that_is_too_old_is_an_error(
    server: Server, client: ClusterClient, told: str
) -> None:
    gone = {"kind": "Status", "code": 410, "message": "too old resource version"}
    if told == "at once":
        server.answer(gone, 410)
    else:
        server.answers.append(events({"type": "ERROR", "object": gone}))
    with pytest.raises(ClusterError, match="too old resource version") as caught:
        async for _ in client.watch_tasks(V1BETA1, "shop", "spec.rerun!=0", "7"):
            pass
    assert caught.value.status == 410


async def test_a_watch_that_nobody_answers_is_unavailable() -> None:
    configuration = kubernetes_client.Configuration(host="http://127.0.0.1:1")
    client = ClusterClient(kubernetes_client.ApiClient(configuration))
    with pytest.raises(ClusterUnavailableError, match="cannot be reached"):
        async for _ in client.watch_tasks(V1BETA1, None, "spec.rerun!=0", "7"):
            pass
    await client.close()


async def test_a_watch_that_gives_no_events_is_unavailable(
    server: Server, client: ClusterClient
) -> None:
    server.answers.append(web.Response(text="<html>\n"))
    with pytest.raises(ClusterUnavailableError, match="the answer is no object"):
        async for _ in client.watch_tasks(V1BETA1, "shop", "spec.rerun!=0", "7"):
            pass
