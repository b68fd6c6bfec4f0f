"""Requests as the API server gets them, and its answers as errors of ours."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client as kubernetes_client

from taskqueue_operator.cluster.client import ClusterClient, object_path
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    NamespaceTerminatingError,
    NotFoundError,
    NotLeaderError,
)
from tests.operator.builders import build_task, build_taskqueue

V1BETA1 = "taskqueue.dev/v1beta1"
TASKS = "/apis/taskqueue.dev/v1beta1/namespaces/shop/tasks"


class Server:
    """An API server that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.requests: list[dict[str, Any]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        text = await request.text()
        self.requests.append(
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "type": request.headers.get("Content-Type"),
                "accept": request.headers.get("Accept"),
                "body": json.loads(text) if text else None,
            }
        )
        return self.answers.pop(0) if self.answers else web.json_response({})

    def answer(self, body: object = None, status: int = 200) -> None:
        """Answer the next request so."""
        self.answers.append(web.json_response(body or {}, status=status))

    @property
    def last(self) -> dict[str, Any]:
        """The last request."""
        return self.requests[-1]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ClusterClient]:
    configuration = kubernetes_client.Configuration(host=server.url)
    client = ClusterClient(kubernetes_client.ApiClient(configuration))
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("v1", "Secret", "a", "b"), "/api/v1/namespaces/a/secrets/b", id="core"),
        pytest.param(
            ("apps/v1", "Deployment", "a"), "/apis/apps/v1/namespaces/a/deployments", id="list"
        ),
        pytest.param((V1BETA1, "Task", "shop", "x", "status"), f"{TASKS}/x/status", id="status"),
        pytest.param(
            ("v1", "Service", "a/../b", "c?d"),
            "/api/v1/namespaces/a%2F..%2Fb/services/c%3Fd",
            id="no way out",
        ),
    ],
)
def test_object_path(arguments: Any, expected: str) -> None:
    assert object_path(*arguments) == expected


async def test_an_object_is_read_from_etcd(server: Server, client: ClusterClient) -> None:
    server.answer({"kind": "Secret"})
    assert await client.get("v1", "Secret", "shop", "rabbit") == {"kind": "Secret"}
    assert server.last["method"] == "GET"
    # A resourceVersion would allow the server's cache.
    assert server.last["query"] == {}


async def test_server_side_apply_is_forced_under_one_manager(
    server: Server, client: ClusterClient
) -> None:
    body = build_taskqueue(status={"observedGeneration": 1})
    server.answer({"metadata": {"uid": "u"}})
    assert await client.apply(body, sub="status") == {"metadata": {"uid": "u"}}
    assert server.last == {
        "method": "PATCH",
        "path": "/apis/taskqueue.dev/v1beta1/namespaces/shop/taskqueues/emails/status",
        "query": {"fieldManager": "taskqueue-operator", "force": "true"},
        "type": "application/apply-patch+yaml",
        "accept": "application/json",
        "body": body,
    }


async def test_a_task_s_status_is_patched_by_json_patch(
    server: Server, client: ClusterClient
) -> None:
    patch = [{"op": "test", "path": "/metadata/uid", "value": "u"}]
    await client.patch_task_status(V1BETA1, "shop", "welcome", patch)
    assert server.last["method"] == "PATCH"
    assert server.last["path"] == f"{TASKS}/welcome/status"
    assert server.last["type"] == "application/json-patch+json"
    assert server.last["body"] == patch


async def test_an_object_is_deleted_with_what_it_owns(
    server: Server, client: ClusterClient
) -> None:
    await client.delete("apps/v1", "Deployment", "shop", "tq-emails")
    assert server.last["method"] == "DELETE"
    assert server.last["body"] == {"propagationPolicy": "Background"}


async def test_an_object_is_deleted_only_as_the_one_that_is_meant(
    server: Server, client: ClusterClient
) -> None:
    preconditions = {"uid": "u", "resourceVersion": "7"}
    await client.delete(V1BETA1, "Task", "shop", "welcome", preconditions=preconditions)
    assert (server.last["method"], server.last["path"]) == ("DELETE", f"{TASKS}/welcome")
    assert server.last["body"]["preconditions"] == preconditions


async def test_metadata_is_read_without_the_object(server: Server, client: ClusterClient) -> None:
    server.answer({"kind": "PartialObjectMetadata", "metadata": {"uid": "u"}})
    assert await client.get_metadata(V1BETA1, "Task", "shop", "welcome") == {"uid": "u"}
    assert (server.last["method"], server.last["path"]) == ("GET", f"{TASKS}/welcome")
    assert "as=PartialObjectMetadata" in server.last["accept"]
    assert server.last["query"] == {}


async def test_pods_come_by_their_labels(server: Server, client: ClusterClient) -> None:
    server.answer({"items": [{"kind": "Pod"}]})
    server.answer({"items": None})
    assert await client.list_pods("shop", {"a": "b", "c": "d"}) == [{"kind": "Pod"}]
    assert server.last["query"]["labelSelector"] == "a=b,c=d"
    assert await client.list_pods("shop", {}) == []


async def test_tables_are_read_page_by_page_without_objects(
    server: Server, client: ClusterClient
) -> None:
    pages = [
        {"metadata": {"continue": "t/1+"}, "rows": [1]},
        {"metadata": {"continue": ""}, "rows": [2]},
        {"rows": ["never read"]},
    ]
    for page in pages:
        server.answer(page)
    read = [page["rows"] async for page in client.task_tables(V1BETA1, "shop")]
    assert read == [[1], [2]]
    first, second = server.requests
    assert first["query"] == {"limit": "500", "includeObject": "None"}
    assert second["query"] == {"limit": "500", "includeObject": "None", "continue": "t/1+"}
    assert "as=Table" in first["accept"]


async def test_tasks_are_listed_by_their_fields_page_by_page(
    server: Server, client: ClusterClient
) -> None:
    server.answer({"metadata": {"continue": "t"}, "items": [1]})
    server.answer({"metadata": {}, "items": [2]})
    pages = [page async for page in client.task_pages(V1BETA1, None, "spec.rerun!=0")]
    assert [page["items"] for page in pages] == [[1], [2]]
    first, second = server.requests
    assert first["path"] == "/apis/taskqueue.dev/v1beta1/tasks"
    assert first["query"] == {"limit": "500", "fieldSelector": "spec.rerun!=0"}
    assert second["query"]["continue"] == "t"


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


async def test_the_cluster_is_known_by_kube_system_and_has_its_own_clock(
    server: Server, client: ClusterClient
) -> None:
    server.answers.append(
        web.json_response(
            {"metadata": {"uid": "c1"}}, headers={"Date": "Fri, 02 Jan 2026 12:00:00 GMT"}
        )
    )
    assert await client.cluster_identity() == ("c1", datetime(2026, 1, 2, 12, tzinfo=UTC))
    assert server.last["path"] == "/api/v1/namespaces/kube-system"


async def test_an_event_names_the_object_and_fits(server: Server, client: ClusterClient) -> None:
    await client.post_event(build_task(), warning=True, reason="Because", message="x" * 2000)
    body = server.last["body"]
    assert server.last["path"] == "/api/v1/namespaces/shop/events"
    assert body["metadata"] == {"generateName": "welcome.", "namespace": "shop"}
    assert body["involvedObject"] == {
        "apiVersion": V1BETA1,
        "kind": "Task",
        "namespace": "shop",
        "name": "welcome",
        "uid": "uid-welcome",
    }
    assert (body["type"], body["reason"], body["message"]) == ("Warning", "Because", "x" * 1024)
    assert body["reportingComponent"] == "taskqueue.dev/taskqueue-operator"


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


async def test_served_kinds_are_those_of_the_version(server: Server, client: ClusterClient) -> None:
    server.answer({"resources": [{"name": "tasks"}, {"name": "tasks/status"}]})
    assert await client.served_kinds("taskqueue.dev/v1beta1") == {"tasks", "tasks/status"}
    assert server.last["path"] == "/apis/taskqueue.dev/v1beta1"
    server.answer({"message": "the server could not find the requested resource"}, status=404)
    assert await client.served_kinds("taskqueue.dev/v1beta1") == set()


LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"namespace": "system", "name": "operator", "resourceVersion": "7"},
}
LEASES = "/apis/coordination.k8s.io/v1/namespaces/system/leases"


async def test_a_lease_is_created_and_replaced(server: Server, client: ClusterClient) -> None:
    await client.create_lease(LEASE)
    assert (server.last["method"], server.last["path"]) == ("POST", LEASES)
    await client.replace_lease(LEASE)
    assert (server.last["method"], server.last["path"]) == ("PUT", f"{LEASES}/operator")
    assert server.last["body"] == LEASE


async def test_who_leads_no_more_writes_nothing_but_the_lease(
    server: Server, client: ClusterClient
) -> None:
    client.may_write = lambda: False
    for write in (
        client.apply(build_taskqueue()),
        client.patch_task_status(V1BETA1, "shop", "welcome", []),
        client.delete(V1BETA1, "Task", "shop", "welcome"),
        client.post_event(build_task(), warning=True, reason="Because", message="x"),
    ):
        with pytest.raises(NotLeaderError, match="the lease of this operator is over"):
            await write
    assert server.requests == []
    await client.get(V1BETA1, "Task", "shop", "welcome")
    await client.replace_lease(LEASE)
    assert len(server.requests) == 2
