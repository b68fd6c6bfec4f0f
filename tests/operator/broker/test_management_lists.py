"""The management API: what many users need is read in one list of each kind."""

import pytest

from taskqueue_operator.broker.management import LIST_SECONDS
from tests.operator.broker.server import LISTS, Server
from tests.operator.broker.wanted import PERMISSIONS, POLICY, TOPIC, USER, ensure
from tests.operator.clock import leap


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
