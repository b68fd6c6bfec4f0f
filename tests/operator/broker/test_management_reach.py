"""The management API: how it is reached, and what is said where it cannot be used."""

import asyncio
import base64
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from aiohttp import web

from taskqueue_operator.broker.management import CONNECTIONS_MOST, TIMEOUT_SECONDS, Management
from taskqueue_operator.errors import (
    ManagementError,
    ManagementRefusedError,
    ManagementUnavailableError,
)
from tests.certificates import create_server_context
from tests.operator.broker.server import Answer, Server
from tests.operator.broker.wanted import USER, ensure
from tests.operator.builders import ADDRESS
from tests.operator.clock import leap


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
