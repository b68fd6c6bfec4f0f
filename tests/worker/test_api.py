"""The edge to the API server, against a small HTTPS server that answers as told."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from taskqueue_api.messages import TaskUid
from taskqueue_api.payload_source import PayloadSource
from taskqueue_worker.api import (
    ApiServer,
    Cluster,
    Forbidden,
    Gone,
    Refused,
    UnauthorizedError,
    WriteAnswer,
    Written,
)
from taskqueue_worker.clock import ServerClock

TASK = {"metadata": {"uid": "u", "resourceVersion": "1"}, "status": {"phase": "Pending"}}


class FakeServer:
    """Answers each request with the next of `answers`, and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: list[web.Response | None] = []
        self.requests: list[tuple[str, str, str | None, Any]] = []
        self.slept: list[float] = []
        self.time = 0.0
        self.clock = ServerClock()
        self.api: ApiServer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        headers = request.headers
        self.requests.append((request.method, request.path, headers.get("Authorization"), body))
        if request.method == "PATCH":
            assert headers["Content-Type"] == "application/json-patch+json"
        answer = self.answers.pop(0)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@pytest.fixture
async def server(tmp_path: Path, server_context: ssl.SSLContext) -> AsyncIterator[FakeServer]:
    fake = FakeServer(tmp_path)
    (tmp_path / "token").write_text("first\n")
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context)
    await site.start()
    port = runner.addresses[0][1]
    fake.api = ApiServer(
        Cluster(f"https://127.0.0.1:{port}", tmp_path),
        "ns",
        fake.clock,
        jitter=lambda: 1.0,
        sleep=fake.sleep,
        monotonic=lambda: fake.time,
    )
    yield fake
    await fake.api.close()
    await runner.cleanup()


def status(code: int, message: str = "", **headers: str) -> web.Response:
    return web.json_response({"message": message}, status=code, headers=headers)


async def test_a_task_is_read_with_the_token(server: FakeServer) -> None:
    server.answers = [web.json_response(TASK)]
    view = await server.api.get_task("t")
    assert view is not None
    assert (view.uid, view.phase) == (TaskUid("u"), "Pending")
    path = "/apis/taskqueue.dev/v1beta1/namespaces/ns/tasks/t"
    assert server.requests == [("GET", path, "Bearer first", None)]


async def test_every_answer_tells_the_time(server: FakeServer) -> None:
    server.answers = [status(404)]
    assert await server.api.get_pod("p") is None
    assert server.clock.now() is not None


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (200, Written()),
        (404, Gone()),
        (422, Refused("words")),
        (400, Refused("words")),
        (413, Refused("words")),
    ],
)
async def test_a_decisive_answer_to_a_write(
    server: FakeServer, code: int, answer: WriteAnswer
) -> None:
    server.answers = [status(code, "words")]
    patch = [{"op": "test", "path": "/metadata/uid", "value": "u"}]
    assert await server.api.patch_status("t", patch) == answer
    method, path, _, body = server.requests[0]
    assert (method, path.rpartition("/")[2], body) == ("PATCH", "status", patch)
    assert server.slept == []


async def test_a_server_that_is_away_is_waited_for(server: FakeServer) -> None:
    server.answers = [None, status(500), status(503), status(403), status(200)]
    assert await server.api.patch_status("t", []) == Written()
    assert server.slept == [0.25, 0.5, 1.0, 2.0]


async def test_a_write_that_was_given_up_among_many_is_made_again(server: FakeServer) -> None:
    # As a refusal it would replace an outcome by the failure that it cannot be written.
    server.answers = [status(409, "the object has been modified"), status(200)]
    assert await server.api.patch_status("t", []) == Written()


async def test_a_name_never_becomes_another_path(server: FakeServer) -> None:
    assert await server.api.get_pod("../secrets/s") is None
    assert server.requests == []


@pytest.mark.parametrize(
    ("source", "path"),
    [
        pytest.param(PayloadSource("ConfigMap", "orders", "a"), "configmaps/orders", id="config"),
        pytest.param(PayloadSource("Secret", "cards", "visa"), "secrets/cards", id="secret"),
    ],
)
async def test_where_a_payload_is_is_read_as_stored_now(
    server: FakeServer, source: PayloadSource, path: str
) -> None:
    server.answers = [web.json_response({"data": {"a": "1"}})]
    assert await server.api.get_source(source) == {"data": {"a": "1"}}
    assert server.requests == [("GET", f"/api/v1/namespaces/ns/{path}", "Bearer first", None)]


@pytest.mark.parametrize(
    ("code", "answer"), [(404, None), (403, Forbidden("words"))], ids=["missing", "forbidden"]
)
async def test_a_decisive_answer_to_the_read_of_a_payload(
    server: FakeServer, code: int, answer: Forbidden | None
) -> None:
    server.answers = [status(code, "words")]
    assert await server.api.get_source(PayloadSource("Secret", "s", "k")) == answer
    assert server.slept == []


async def test_a_server_that_is_away_is_waited_for_with_a_payload_too(server: FakeServer) -> None:
    server.answers = [status(500), status(429), status(401), status(404)]
    assert await server.api.get_source(PayloadSource("Secret", "s", "k")) is None
    assert server.slept == [0.25, 0.5, 1.0]


async def test_a_busy_server_says_how_long_to_wait(server: FakeServer) -> None:
    server.answers = [status(429, **{"Retry-After": "7"}), status(200)]
    assert await server.api.patch_status("t", []) == Written()
    assert server.slept == [7.0]


async def test_a_renewed_token_is_read(server: FakeServer) -> None:
    server.answers = [status(401), status(200), status(200)]
    (server.folder / "token").write_text("first")
    await server.api.patch_status("t", [])
    (server.folder / "token").write_text("second")
    await server.api.get_pod("p")
    assert [request[2] for request in server.requests] == ["Bearer first"] * 3
    server.time += 60
    server.answers = [status(404)]
    await server.api.get_pod("p")
    assert server.requests[-1][2] == "Bearer second"


async def test_a_refused_token_is_read_again(server: FakeServer) -> None:
    server.answers = [status(404), status(401), status(404)]
    await server.api.get_pod("p")
    (server.folder / "token").write_text("second")
    await server.api.get_pod("p")
    assert [request[2] for request in server.requests] == [
        "Bearer first",
        "Bearer first",
        "Bearer second",
    ]


async def test_a_token_that_is_never_taken_ends_it(server: FakeServer) -> None:
    server.answers = [status(401, "Unauthorized") for _ in range(20)]
    with pytest.raises(UnauthorizedError, match="Unauthorized"):
        await server.api.get_pod("p")
    assert 30 <= server.time < 60


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(status(200), Written(), id="taken"),
        pytest.param(status(404), Gone(), id="gone"),
        pytest.param(status(422, "no"), Refused("no"), id="refused"),
        pytest.param(status(429, "busy", **{"Retry-After": "1"}), None, id="busy"),
        pytest.param(status(401), None, id="a token that is not taken now"),
        pytest.param(status(500), None, id="broken"),
        pytest.param(None, None, id="cut off"),
    ],
)
async def test_an_offer_is_made_once(
    server: FakeServer, answer: web.Response | None, expected: WriteAnswer | None
) -> None:
    server.answers = [answer]
    assert await server.api.offer_status("t", []) == expected
    assert len(server.requests) == 1
    assert server.slept == []


async def test_an_offer_to_nobody_is_dropped(server: FakeServer, tmp_path: Path) -> None:
    nobody = ApiServer(Cluster("https://127.0.0.1:9", tmp_path), "ns", ServerClock())
    assert await nobody.offer_status("t", []) is None
    await nobody.close()
