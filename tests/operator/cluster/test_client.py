"""Requests as the API server gets them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from taskqueue_operator.cluster.client import ClusterClient, object_path
from taskqueue_operator.errors import NotLeaderError
from tests.operator.builders import build_task, build_taskqueue
from tests.operator.cluster.server import TASKS, V1BETA1, Server


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
    pages = [page async for page in client.list_pages(V1BETA1, "Task", None, "spec.rerun!=0")]
    assert [page["items"] for page in pages] == [[1], [2]]
    first, second = server.requests
    assert first["path"] == "/apis/taskqueue.dev/v1beta1/tasks"
    assert first["query"] == {"limit": "500", "fieldSelector": "spec.rerun!=0"}
    assert second["query"]["continue"] == "t"


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
