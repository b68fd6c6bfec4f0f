"""The API server's answers as errors of ours, and what becomes of requests without one."""

from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client as kubernetes_client

from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    NamespaceTerminatingError,
    NotFoundError,
)
from tests.operator.builders import build_taskqueue
from tests.operator.cluster.server import TASKS, V1BETA1, Server

TERMINATING = {
    "message": "namespace is being terminated",
    "details": {"causes": [{"reason": "NamespaceTerminating"}]},
}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        pytest.param(404, {"message": "words"}, NotFoundError, id="404"),
        pytest.param(409, {"message": "words"}, ConflictError, id="409"),
        pytest.param(422, {"message": "words"}, ConflictError, id="422"),
        pytest.param(429, {"message": "words"}, ClusterUnavailableError, id="429"),
        pytest.param(500, {"message": "words"}, ClusterUnavailableError, id="500"),
        pytest.param(503, {"message": "words"}, ClusterUnavailableError, id="503"),
        pytest.param(400, {"message": "words"}, ClusterError, id="400"),
        pytest.param(401, {"message": "words"}, ClusterError, id="401"),
        pytest.param(403, {"message": "words"}, ClusterError, id="403"),
        pytest.param(403, {"message": "words", "details": {}}, ClusterError, id="403, details"),
        pytest.param(403, TERMINATING, NamespaceTerminatingError, id="namespace ends"),
    ],
)
async def test_a_refusal_is_translated_with_the_server_s_words(
    server: Server,
    client: ClusterClient,
    status: int,
    body: dict[str, Any],
    kind: type[ClusterError],
) -> None:
    server.answer(body, status)
    with pytest.raises(ClusterError) as caught:
        await client.get(V1BETA1, "Task", "shop", "welcome")
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert str(caught.value) == f"GET {TASKS}/welcome: {body['message']} (HTTP {status})"


@pytest.mark.parametrize(
    "text",
    ["<html>gateway</html>", "[]", "null", '"text"', '{"kind": "Status"}', "\xff"],
    ids=repr,
)
async def test_an_answer_of_another_shape_is_kept_as_it_is(
    server: Server, client: ClusterClient, text: str
) -> None:
    server.answers.append(web.Response(status=503, text=text))
    with pytest.raises(ClusterUnavailableError, match="HTTP 503") as caught:
        await client.get(V1BETA1, "Task", "shop", "welcome")
    assert text in str(caught.value)


@pytest.mark.parametrize("text", ["<html>log in</html>", "[]", '{"cut o'])
async def test_a_good_answer_that_is_no_object_is_of_somebody_in_between(
    server: Server, client: ClusterClient, text: str
) -> None:
    server.answers.append(web.Response(text=text))
    with pytest.raises(ClusterUnavailableError, match="the answer is no object"):
        await client.get(V1BETA1, "Task", "shop", "welcome")


async def test_the_query_is_not_in_the_message(server: Server, client: ClusterClient) -> None:
    server.answer({"message": "words"}, 403)
    with pytest.raises(ClusterError) as caught:
        await client.apply(build_taskqueue())
    assert "fieldManager" not in str(caught.value)


async def test_a_write_is_not_made_twice_by_the_transport(
    server: Server, client: ClusterClient
) -> None:
    server.answer({"message": "words"}, 503)
    with pytest.raises(ClusterUnavailableError):
        await client.patch_task_status(V1BETA1, "shop", "welcome", [])
    assert len(server.requests) == 1


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    # Port 1 of the own machine: nobody listens there.
    configuration = kubernetes_client.Configuration(host="http://127.0.0.1:1")
    client = ClusterClient(kubernetes_client.ApiClient(configuration))
    with pytest.raises(ClusterUnavailableError, match="cannot be reached") as caught:
        await client.get("v1", "Secret", "shop", "rabbit")
    assert caught.value.status == 0
    await client.close()


async def test_a_server_that_hangs_up_is_unavailable() -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport
        request.transport.abort()
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hang_up)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    configuration = kubernetes_client.Configuration(host=f"http://{host}:{port}")
    client = ClusterClient(kubernetes_client.ApiClient(configuration))
    with pytest.raises(ClusterUnavailableError):
        await client.apply(build_taskqueue())
    await client.close()
    await runner.cleanup()
