"""The management API: users are made and repaired, and only when something differs."""

import asyncio
import base64
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from taskqueue_operator.broker.management import (
    CONNECTIONS_MOST,
    LIST_SECONDS,
    TIMEOUT_SECONDS,
    Management,
)
from taskqueue_operator.errors import (
    ManagementError,
    ManagementRefusedError,
    ManagementUnavailableError,
)
from tests.certificates import create_server_context
from tests.operator.broker.server import LISTS, Answer, Server
from tests.operator.builders import ADDRESS
from tests.operator.clock import leap

PERMISSIONS = {"configure": "^$", "write": "^w$", "read": "^r$"}
TOPIC = {"exchange": "taskqueue.dlx", "write": "^w$", "read": "^$"}
DELAY_TOPIC = {"exchange": "taskqueue.delay.25", "write": "^d$", "read": "^$"}
USER = "tq.shop.emails.0b9f3c1e"


async def ensure(api: Management) -> None:
    await api.ensure_user(USER, "hash", PERMISSIONS, [TOPIC, DELAY_TOPIC])


async def test_a_user_is_made_with_its_permissions(server: Server) -> None:
    await ensure(server.management())
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
    await ensure(server.management())
    server.requests.clear()
    await ensure(server.management())
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
    await ensure(server.management())
    server.objects[path] |= change
    server.requests.clear()
    await ensure(server.management())
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
    await ensure(server.management())
    server.objects[path] = stored
    server.requests.clear()
    await ensure(server.management())
    assert server.writes == ["topic-permissions"] * writes
    assert all(item in server.objects[path] for item in (TOPIC, DELAY_TOPIC))


async def test_the_vhost_is_one_part_of_the_path(server: Server) -> None:
    await ensure(server.management(vhost="a/b ü"))
    paths = [unquote(path) for path in server.objects if path.startswith("permissions")]
    assert paths == [f"permissions/a/b ü/{USER}"]
    assert all(path.count("/") == 2 for path in server.objects if path.startswith("permissions"))


async def test_the_administrators_credentials_are_used(server: Server) -> None:
    await ensure(server.management(username="ädmin", password="p:w"))
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
    api = server.management(vhost="a/b")
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
    api = server.management()
    await api.ensure_operator_policy("tqd.shop.emails", POLICY)
    server.objects["operator-policies/%2F/tqd.shop.emails"] |= change
    assert await api.ensure_operator_policy("tqd.shop.emails", POLICY)
    assert server.objects["operator-policies/%2F/tqd.shop.emails"] == {"name": "x", **POLICY}


async def test_an_operator_policy_is_deleted_only_where_there_is_one(server: Server) -> None:
    # Where operator policies may not be changed, the attempt itself is refused.
    api = server.management()
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
    assert await server.management().operator_policy_of("tqd.shop.emails") == name


async def test_a_user_is_deleted_and_may_be_gone_already(server: Server) -> None:
    api = server.management()
    await ensure(api)
    await api.delete_user(USER)
    await api.delete_user(USER)
    assert f"users/{USER}" not in server.objects


async def slow(request: web.BaseRequest) -> web.Response:
    leap(TIMEOUT_SECONDS + 1)
    await asyncio.sleep(60)
    return web.Response()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        pytest.param(slow, ManagementUnavailableError, "TimeoutError", id="too slow"),
        pytest.param(
            lambda _: web.json_response({"error": "down"}, status=503),
            ManagementUnavailableError,
            "down (HTTP 503)",
            id="503",
        ),
        pytest.param(
            lambda _: web.Response(text="<html>"),
            ManagementUnavailableError,
            "is not RabbitMQ's management API",
            id="something else",
        ),
        pytest.param(
            lambda _: web.json_response(
                {"error": "x", "reason": "Not administrator user"}, status=401
            ),
            ManagementRefusedError,
            "Not administrator user (HTTP 401)",
            id="no administrator",
        ),
        pytest.param(
            lambda _: web.Response(status=403, text="Forbidden by proxy"),
            ManagementRefusedError,
            "Forbidden (HTTP 403)",
            id="no JSON",
        ),
        pytest.param(
            lambda _: web.json_response(["bad"], status=400),
            ManagementRefusedError,
            "Bad Request (HTTP 400)",
            id="JSON of another shape",
        ),
    ],
)
async def test_a_failure_is_named(
    server: Server,
    answer: Answer,
    kind: type[ManagementError],
    words: str,
) -> None:
    server.answer = answer
    with pytest.raises(kind) as caught:
        await ensure(server.management())
    assert words in str(caught.value)
    assert server.url in str(caught.value)
    assert "top secret" not in str(caught.value)


async def test_a_server_that_is_away_is_named(server: Server) -> None:
    api = server.management()
    await server.stop()
    with pytest.raises(ManagementUnavailableError) as caught:
        await ensure(api)
    assert str(caught.value) == (
        f"the management API at {server.url} cannot be reached: "
        "ClientConnectorError: Connection refused"
    )


async def test_a_host_without_an_address_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(ManagementUnavailableError) as caught:
        await ensure(server.management(base="http://nowhere.invalid:15672"))
    assert str(caught.value) == (
        "the management API at http://nowhere.invalid:15672 cannot be reached: "
        "ClientConnectorDNSError: [Errno -2] Name or service not known"
    )


@pytest.mark.parametrize(
    "base", ["http://h:port", "h:15672", "ftp://h", "http://[::1", "http://", ""]
)
async def test_a_wrong_address_is_an_api_that_is_away(server: Server, base: str) -> None:
    with pytest.raises(ManagementUnavailableError, match="cannot be reached"):
        await ensure(server.management(base=base))


async def test_no_redirect_is_followed(server: Server) -> None:
    server.answer = lambda _: web.Response(status=302, headers={"Location": f"{server.url}/other"})
    assert await server.management().operator_policy_of("q") is None
    assert len(server.requests) == 1


async def test_the_environments_proxies_are_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    await ensure(server.management())
    assert server.objects


async def test_the_base_may_have_a_path(server: Server) -> None:
    await server.management(base=f"{server.url}/a%2Fb/", vhost="ü").operator_policy_of("q/")
    assert server.requests == [("GET", "/a%2Fb/api/queues/%C3%BC/q%2F")]


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    return create_server_context(tmp_path)


async def test_the_ca_of_the_address_is_trusted(
    server: Server, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    await server.start(tls)
    assert server.url.startswith("https://")
    await ensure(server.management(ca=(tmp_path / "ca.crt").read_text()))
    assert server.objects


async def test_a_server_that_is_not_trusted_gets_no_request(
    server: Server, tls: ssl.SSLContext
) -> None:
    await server.start(tls)
    with pytest.raises(ManagementUnavailableError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        await ensure(server.management())
    assert " at 0x" not in str(caught.value)
    assert server.requests == []


async def test_calls_at_once_are_bounded_and_outlast_a_close(server: Server) -> None:
    waiting = 0
    full, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.Response:
        nonlocal waiting
        waiting += 1
        if waiting == CONNECTIONS_MOST:
            full.set()
        await go_on.wait()
        return web.json_response({"operator_policy": "all"})

    server.answer = answer
    api = server.management()
    calls = [asyncio.create_task(api.operator_policy_of("q")) for _ in range(CONNECTIONS_MOST + 5)]
    await asyncio.wait_for(full.wait(), 10)
    await asyncio.sleep(0.05)
    assert waiting == CONNECTIONS_MOST
    await api.close()
    go_on.set()
    assert set(await asyncio.gather(*calls)) == {"all"}
    assert api._session is None


async def test_a_vhost_that_is_missing_is_a_refusal(server: Server) -> None:
    def answer(request: web.BaseRequest) -> web.Response:
        if request.method == "PUT" and "/permissions/" in request.raw_path:
            return web.json_response({"reason": "vhost_not_found"}, status=404)
        return web.Response(status=404 if request.method == "GET" else 201)

    server.answer = answer
    with pytest.raises(ManagementRefusedError, match="vhost_not_found"):
        await ensure(server.management())


@pytest.mark.parametrize("ca", ["no certificate", "# ü"])
async def test_a_ca_that_cannot_be_read_is_a_failure_of_the_management_api(ca: str) -> None:
    # Without TLS to the broker nobody has looked at the CA before.
    with pytest.raises(ManagementError):
        Management("http://h:15672/", replace(ADDRESS, ca=ca))


async def test_who_leads_no_more_writes_nothing(server: Server) -> None:
    api = server.management(lambda: False)
    for change in (ensure(api), api.delete_user(USER)):
        with pytest.raises(ManagementUnavailableError, match="the lease of this operator is over"):
            await change
    assert {method for method, _ in server.requests} <= {"GET"}


async def test_many_users_are_looked_up_in_one_list_of_each_kind(server: Server) -> None:
    api = server.management()
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
    leap(LIST_SECONDS)
    server.requests.clear()
    for name in names:
        await api.ensure_user(name, "hash", PERMISSIONS, [TOPIC])
    assert not await api.ensure_operator_policy("tqd.shop.q0", POLICY)
    assert len(server.requests) == 4
    assert all(method == "GET" for method, _ in server.requests)


async def test_a_new_user_does_not_make_the_lists_be_read_again(server: Server) -> None:
    api = server.management()
    await ensure(api)
    await api.ensure_user("tq.shop.next", "hash", PERMISSIONS, [TOPIC])
    listed = [path for _, path in server.requests if path.removeprefix("/api/") in LISTS]
    assert len(listed) == 3


async def test_a_list_is_read_again_after_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = server.management()
    await ensure(api)
    await ensure(api)
    del server.objects[f"users/{USER}"]
    monkeypatch.setattr("taskqueue_operator.broker.management.LIST_SECONDS", 0.0)
    server.requests.clear()
    await ensure(api)
    assert server.writes == ["users"]


async def test_of_a_list_only_what_is_compared_is_kept_and_not_for_long(server: Server) -> None:
    api = server.management()
    await ensure(api)
    await api.ensure_operator_policy("tqd.shop.emails", POLICY)
    server.objects[f"users/{USER}"]["limits"] = "x" * 1000
    leap(LIST_SECONDS)
    await ensure(api)
    marks = [mark for _, found in api._lists.values() for mark in found]
    assert marks
    assert {len(mark) for mark in marks} == {16}
    leap(LIST_SECONDS)
    await api.operator_policy_of("tqd.shop.emails")
    assert (api._lists, api._written) == ({}, {})
