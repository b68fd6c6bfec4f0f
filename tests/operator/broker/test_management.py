"""The management API: users are made and repaired, and only when something differs."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from taskqueue_operator.broker.management import LIST_SECONDS, Management
from taskqueue_operator.errors import (
    ManagementError,
    ManagementRefusedError,
    ManagementUnavailableError,
)
from tests.operator.builders import ADDRESS

PERMISSIONS = {"configure": "^$", "write": "^w$", "read": "^r$"}
TOPIC = {"exchange": "taskqueue.dlx", "write": "^w$", "read": "^$"}
DELAY_TOPIC = {"exchange": "taskqueue.delay.25", "write": "^d$", "read": "^$"}
USER = "tq.shop.emails.0b9f3c1e"


LISTS = {
    "users": ("users", "name"),
    "vhosts/%2F/permissions": ("permissions", "user"),
    "vhosts/%2F/topic-permissions": ("topic-permissions", "user"),
    "operator-policies/%2F": ("operator-policies", "name"),
}
"""By path: the kind that is listed, and the member that has its name."""


class Server:
    """What a RabbitMQ answers: its users and permissions by path.

    answer: answers everything instead, when set.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.requests: list[tuple[str, str]] = []
        self.headers: list[httpx.Headers] = []
        self.answer: Callable[[httpx.Request], httpx.Response] | None = None

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        path = request.url.raw_path.decode()
        self.requests.append((request.method, path))
        self.headers.append(request.headers)
        if self.answer:
            return self.answer(request)
        name = path.removeprefix("/api/")
        if request.method == "PUT":
            body = json.loads(request.content)
            if name.startswith("topic-permissions/"):
                others = [
                    item
                    for item in self.objects.get(name, [])
                    if item["exchange"] != body["exchange"]
                ]
                self.objects[name] = [*others, body]
            else:
                self.objects[name] = {"name": "x", **body}
            return httpx.Response(201)
        if name in LISTS:
            return httpx.Response(200, json=self.listed(name))
        if name not in self.objects:
            return httpx.Response(404, json={"error": "Object Not Found", "reason": "Not Found"})
        if request.method == "DELETE":
            del self.objects[name]
            return httpx.Response(204)
        return httpx.Response(200, json=self.objects[name])

    def listed(self, name: str) -> list[dict[str, Any]]:
        """Return what a list has, each with what tells it from the others."""
        kind, by = LISTS[name]
        rows = []
        for path, found in self.objects.items():
            if path.startswith(f"{kind}/"):
                who = {by: unquote(path.rpartition("/")[2]), "vhost": "/"}
                several = found if isinstance(found, list) else [found]
                rows += [{**one, **who} for one in several]
        return rows

    @property
    def writes(self) -> list[str]:
        """Kinds of objects that were written, in order."""
        return [path.split("/")[2] for method, path in self.requests if method == "PUT"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    class Client(httpx.AsyncClient):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, transport=httpx.MockTransport(server.handle))

    monkeypatch.setattr("taskqueue_operator.broker.management.httpx.AsyncClient", Client)
    return server


def management(**address: Any) -> Management:
    return Management("http://h:15672/", replace(ADDRESS, **address))


async def ensure(api: Management) -> None:
    await api.ensure_user(USER, "hash", PERMISSIONS, [TOPIC, DELAY_TOPIC])


async def test_a_user_is_made_with_its_permissions(server: Server) -> None:
    await ensure(management())
    assert server.objects == {
        f"users/{USER}": {
            "name": "x",
            "password_hash": "hash",
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": [],
        },
        f"permissions/%2F/{USER}": {"name": "x", **PERMISSIONS},
        f"topic-permissions/%2F/{USER}": [TOPIC, DELAY_TOPIC],
    }


async def test_a_user_that_is_right_is_not_written(server: Server) -> None:
    await ensure(management())
    server.requests.clear()
    await ensure(management())
    assert server.writes == []


@pytest.mark.parametrize(
    ("path", "change", "written"),
    [
        pytest.param(f"users/{USER}", {"password_hash": "x"}, "users", id="password"),
        pytest.param(f"users/{USER}", {"tags": ["administrator"]}, "users", id="tags"),
        pytest.param(f"permissions/%2F/{USER}", {"read": ".*"}, "permissions", id="permission"),
    ],
)
async def test_only_what_drifted_is_repaired(
    server: Server, path: str, change: dict[str, Any], written: str
) -> None:
    await ensure(management())
    server.objects[path] |= change
    server.requests.clear()
    await ensure(management())
    assert server.writes == [written]


@pytest.mark.parametrize(
    ("stored", "writes"),
    [
        pytest.param([], 2, id="both gone"),
        pytest.param([DELAY_TOPIC], 1, id="the first gone"),
        pytest.param([TOPIC], 1, id="the second gone"),
        pytest.param([{**TOPIC, "write": ".*"}, DELAY_TOPIC], 1, id="first pattern wider"),
        pytest.param([TOPIC, {**DELAY_TOPIC, "write": ".*"}], 1, id="second pattern wider"),
        pytest.param([{**TOPIC, "exchange": "other"}, DELAY_TOPIC], 1, id="another exchange"),
        pytest.param([DELAY_TOPIC, TOPIC], 0, id="the other order"),
        pytest.param(
            [{**TOPIC, "exchange": "another"}, TOPIC, DELAY_TOPIC], 0, id="one more than ours"
        ),
    ],
)
async def test_a_topic_permission_that_drifted_is_repaired(
    server: Server, stored: list[Any], writes: int
) -> None:
    path = f"topic-permissions/%2F/{USER}"
    await ensure(management())
    server.objects[path] = stored
    server.requests.clear()
    await ensure(management())
    assert server.writes == ["topic-permissions"] * writes
    assert all(item in server.objects[path] for item in (TOPIC, DELAY_TOPIC))


async def test_the_vhost_is_one_part_of_the_path(server: Server) -> None:
    await ensure(management(vhost="a/b ü"))
    paths = [unquote(path) for path in server.objects if path.startswith("permissions")]
    assert paths == [f"permissions/a/b ü/{USER}"]
    assert all(path.count("/") == 2 for path in server.objects if path.startswith("permissions"))


async def test_the_administrators_credentials_are_used(server: Server) -> None:
    await ensure(management(username="ädmin", password="p:w"))
    scheme, _, token = server.headers[0]["authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(token).decode() == "ädmin:p:w"


POLICY = {
    "pattern": r"^tqd\.shop\.emails$",
    "definition": {"max-length": 5},
    "priority": -1,
    "apply-to": "queues",
}


async def test_an_operator_policy_is_written_once(server: Server) -> None:
    api = management(vhost="a/b")
    assert await api.ensure_operator_policy("tqd.shop.emails", POLICY)
    assert server.objects == {"operator-policies/a%2Fb/tqd.shop.emails": {"name": "x", **POLICY}}
    assert not await api.ensure_operator_policy("tqd.shop.emails", POLICY)
    assert server.writes == ["operator-policies"]


@pytest.mark.parametrize(
    "change",
    [
        {"pattern": ".*"},
        {"definition": {"max-length": 5, "message-ttl": 1}},
        {"priority": 0},
        {"apply-to": "classic_queues"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_an_operator_policy_that_drifted_is_repaired(
    server: Server, change: dict[str, Any]
) -> None:
    api = management()
    await api.ensure_operator_policy("tqd.shop.emails", POLICY)
    server.objects["operator-policies/%2F/tqd.shop.emails"] |= change
    assert await api.ensure_operator_policy("tqd.shop.emails", POLICY)
    assert server.objects["operator-policies/%2F/tqd.shop.emails"] == {"name": "x", **POLICY}


async def test_an_operator_policy_is_deleted_only_where_there_is_one(server: Server) -> None:
    # Where operator policies may not be changed, the attempt itself is refused.
    api = management()
    await api.delete_operator_policy("tqd.shop.emails")
    assert [method for method, _ in server.requests] == ["GET"]
    await api.ensure_operator_policy("tqd.shop.emails", POLICY)
    await api.delete_operator_policy("tqd.shop.emails")
    assert server.objects == {}


@pytest.mark.parametrize(
    ("found", "name"),
    [
        pytest.param(None, None, id="no such queue"),
        pytest.param({"name": "q"}, None, id="not said yet"),
        pytest.param({"operator_policy": None}, None, id="none"),
        pytest.param({"operator_policy": ""}, None, id="none, as 3.x says it"),
        pytest.param({"operator_policy": "all"}, "all", id="one"),
    ],
)
async def test_the_operator_policy_of_a_queue(server: Server, found: Any, name: str | None) -> None:
    if found is not None:
        server.objects["queues/%2F/tqd.shop.emails"] = found
    assert await management().operator_policy_of("tqd.shop.emails") == name


async def test_a_user_is_deleted_and_may_be_gone_already(server: Server) -> None:
    api = management()
    await ensure(api)
    await api.delete_user(USER)
    await api.delete_user(USER)
    assert f"users/{USER}" not in server.objects


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused", request=request)


def slow(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("", request=request)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        pytest.param(unreachable, ManagementUnavailableError, "Connection refused", id="away"),
        pytest.param(slow, ManagementUnavailableError, "ReadTimeout", id="too slow"),
        pytest.param(
            lambda _: httpx.Response(503, json={"error": "down"}),
            ManagementUnavailableError,
            "down (HTTP 503)",
            id="503",
        ),
        pytest.param(
            lambda _: httpx.Response(200, text="<html>"),
            ManagementUnavailableError,
            "is not RabbitMQ's management API",
            id="something else",
        ),
        pytest.param(
            lambda _: httpx.Response(401, json={"error": "x", "reason": "Not administrator user"}),
            ManagementRefusedError,
            "Not administrator user (HTTP 401)",
            id="no administrator",
        ),
        pytest.param(
            lambda _: httpx.Response(403, text="Forbidden by proxy"),
            ManagementRefusedError,
            "Forbidden (HTTP 403)",
            id="no JSON",
        ),
        pytest.param(
            lambda _: httpx.Response(400, json=["bad"]),
            ManagementRefusedError,
            "Bad Request (HTTP 400)",
            id="JSON of another shape",
        ),
    ],
)
async def test_a_failure_is_named(
    server: Server,
    answer: Callable[[httpx.Request], httpx.Response],
    kind: type[ManagementError],
    words: str,
) -> None:
    server.answer = answer
    with pytest.raises(kind) as caught:
        await ensure(management())
    assert words in str(caught.value)
    assert "http://h:15672" in str(caught.value)
    assert "top secret" not in str(caught.value)


async def test_a_vhost_that_is_missing_is_a_refusal(server: Server) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and "/permissions/" in str(request.url):
            return httpx.Response(404, json={"reason": "vhost_not_found"})
        return httpx.Response(404 if request.method == "GET" else 201)

    server.answer = answer
    with pytest.raises(ManagementRefusedError, match="vhost_not_found"):
        await ensure(management())


@pytest.mark.parametrize("ca", ["no certificate", "# ü"])
@pytest.mark.usefixtures("server")
async def test_a_ca_that_cannot_be_read_is_a_failure_of_the_management_api(ca: str) -> None:
    # Without TLS to the broker nobody has looked at the CA before.
    with pytest.raises(ManagementError):
        await ensure(management(ca=ca))


async def test_who_leads_no_more_writes_nothing(server: Server) -> None:
    api = Management("http://h:15672/", ADDRESS, lambda: False)
    for change in (ensure(api), api.delete_user(USER)):
        with pytest.raises(ManagementUnavailableError, match="the lease of this operator is over"):
            await change
    assert {method for method, _ in server.requests} <= {"GET"}


async def test_many_users_are_looked_up_in_one_list_of_each_kind(server: Server) -> None:
    api = management()
    names = [f"tq.shop.q{number}" for number in range(5)]
    for name in names:
        await api.ensure_user(name, "hash", PERMISSIONS, [TOPIC])
    await api.ensure_operator_policy("tqd.shop.q0", POLICY)
    server.requests.clear()
    for name in names:
        await api.ensure_user(name, "hash", PERMISSIONS, [TOPIC])
    assert not await api.ensure_operator_policy("tqd.shop.q0", POLICY)
    singly = len(server.requests)
    assert singly == 3 * len(names) + 1  # of what was just written the lists may be too old to know
    await asyncio.sleep(LIST_SECONDS)
    server.requests.clear()
    for name in names:
        await api.ensure_user(name, "hash", PERMISSIONS, [TOPIC])
    assert not await api.ensure_operator_policy("tqd.shop.q0", POLICY)
    assert len(server.requests) == 4
    assert all(method == "GET" for method, _ in server.requests)


async def test_a_new_user_does_not_make_the_lists_be_read_again(server: Server) -> None:
    api = management()
    await ensure(api)
    await api.ensure_user("tq.shop.next", "hash", PERMISSIONS, [TOPIC])
    listed = [path for _, path in server.requests if path.removeprefix("/api/") in LISTS]
    assert len(listed) == 3


async def test_a_list_is_read_again_after_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = management()
    await ensure(api)
    await ensure(api)
    del server.objects[f"users/{USER}"]
    monkeypatch.setattr("taskqueue_operator.broker.management.LIST_SECONDS", 0.0)
    server.requests.clear()
    await ensure(api)
    assert server.writes == ["users"]
