"""The management API: users are made and repaired, and only when something differs."""

from typing import Any

import pytest

from taskqueue_operator.errors import ManagementUnavailableError
from tests.operator.broker.server import Server
from tests.operator.broker.wanted import DELAY_TOPIC, PERMISSIONS, POLICY, TOPIC, USER, ensure


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


async def test_who_leads_no_more_writes_nothing(server: Server) -> None:
    api = server.management(lambda: False)
    for change in (ensure(api), api.delete_user(USER)):
        with pytest.raises(ManagementUnavailableError, match="the lease of this operator is over"):
            await change
    assert {method for method, _ in server.requests} <= {"GET"}
