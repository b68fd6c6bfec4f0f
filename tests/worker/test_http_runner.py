"""`http` handlers against a real server on loopback, good and bad."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from taskqueue_worker.handling import open_handling
from taskqueue_worker.http_answers import BODY_MAX_BYTES
from taskqueue_worker.http_runner import HttpRunner, build_headers, open_session
from taskqueue_worker.outcomes import Failure, Outcome, Success
from taskqueue_worker.runners import Job
from taskqueue_worker.settings import HandlersSettings, HttpSettings
from tests.worker.http_server import HttpServer, response, running

JOB = Job(
    handler="greet",
    payload='{"имя":"é"}'.encode(),
    timeout=8,
    uid="uid-1",
    attempt=2,
    namespace="ns",
    name="t",
    queue="q",
    run=3,
)
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with running() as started:
        yield started


async def run(url: str, job: Job = JOB) -> Outcome:
    async with open_session() as session:
        return await HttpRunner(url, session, now=lambda: NOW).run(job)


async def error_of(url: str, **changes: Any) -> Failure:
    outcome = await run(url, replace(JOB, **changes))
    assert isinstance(outcome, Failure), outcome
    return outcome


# The request


async def test_the_payload_is_posted_as_it_is_with_what_the_task_is(server: HttpServer) -> None:
    assert await run(server.url) == Success(None)
    (request,) = server.requests
    assert request.line == "POST /task?key=secret HTTP/1.1"
    assert request.body == JOB.payload
    assert request.headers == {
        "host": f"localhost:{server.port}",
        "content-type": "application/json",
        "content-length": str(len(JOB.payload)),
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "taskqueue-worker",
        "connection": "close",
        "taskqueue-handler": "greet",
        "taskqueue-uid": "uid-1",
        "taskqueue-name": "t",
        "taskqueue-namespace": "ns",
        "taskqueue-attempt": "2",
        "taskqueue-queue": "q",
        "idempotency-key": "uid-1/3/2",
    }


def test_a_message_of_an_outside_producer_may_have_neither_name_nor_id() -> None:
    headers = build_headers(replace(JOB, uid="", name=""))
    assert not {"Taskqueue-Uid", "Taskqueue-Name", "Idempotency-Key"} & set(headers)
    assert headers["Taskqueue-Handler"] == "greet"


@pytest.mark.parametrize(
    "handler", ["größe 世 👋", "a\r\nX-Evil: 1\r\n\r\nGET /", " a ", "%41", "\0", "ä" * 127]
)
async def test_no_name_of_a_handler_writes_headers(server: HttpServer, handler: str) -> None:
    assert await run(server.url, replace(JOB, handler=handler)) == Success(None)
    (request,) = server.requests
    assert unquote(request.headers["taskqueue-handler"]) == handler
    assert request.body == JOB.payload
    assert "x-evil" not in request.headers


async def test_a_payload_of_many_megabytes_arrives(server: HttpServer) -> None:
    payload = json.dumps("x" * 8 * 1024 * 1024).encode()
    assert await run(server.url, replace(JOB, payload=payload)) == Success(None)
    assert server.requests[0].body == payload


async def test_a_server_may_answer_before_it_has_read_all(server: HttpServer) -> None:
    server.reads_bodies = False
    server.answer = response(413, "too much")
    error = await error_of(server.url, payload=b"1" * 8 * 1024 * 1024)
    assert (error.type, error.message) == ("Rejected", "HTTP 413: too much")


async def test_proxies_of_the_environment_are_not_used(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert await run(server.url) == Success(None)


async def test_a_request_brings_nothing_of_the_one_before(server: HttpServer) -> None:
    server.answer = response(200, "1", "Set-Cookie: session=1; Path=/", "Connection: keep-alive")
    async with open_session() as session:
        runner = HttpRunner(server.url, session)
        for _ in range(2):
            assert await runner.run(JOB) == Success(b"1")
    # Two requests on two connections: the server reads but one on each.
    assert len(server.requests) == 2
    assert "cookie" not in server.requests[1].headers


# The answer


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        pytest.param(response(200, '{"größe": "世"}'), '{"größe":"世"}', id="a result"),
        pytest.param(response(204), None, id="no content"),
        pytest.param(response(200), None, id="empty"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n",
            "[1]",
            id="in chunks",
        ),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7",
            "7",
            id="after an interim answer",
        ),
    ],
)
async def test_an_answer_is_the_result(
    server: HttpServer, answer: bytes, outcome: str | None
) -> None:
    server.answer = answer
    assert await run(server.url) == Success(None if outcome is None else outcome.encode())


@pytest.mark.parametrize(
    ("answer", "error_type", "words", "permanent"),
    [
        pytest.param(response(500, "größer"), "HttpStatus", "HTTP 500: größer", False, id="500"),
        pytest.param(response(400, "no"), "Rejected", "HTTP 400: no", True, id="400"),
        pytest.param(response(200, "<html>"), "ResultNotJson", "<html>", True, id="not JSON"),
        pytest.param(
            response(200, b"\x1f\x8b\x08", "Content-Encoding: gzip"),
            "ResultNotJson",
            "not UTF-8",
            True,
            id="compressed unasked",
        ),
        pytest.param(
            response(200, f'"{"x" * 9000}"'), "ResultTooLarge", "9002 bytes", True, id="too large"
        ),
        pytest.param(b"garbage\r\n\r\n", "AnswerNotHttp", "garbage", False, id="garbage"),
        pytest.param(b"\0\xff" * 50_000, "AnswerNotHttp", "not HTTP", False, id="binary garbage"),
        pytest.param(
            b"HTTP/1.1 20000 OK\r\n\r\n", "AnswerNotHttp", "20000", False, id="no such status"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
            "AnswerNotHttp",
            "more than",
            False,
            id="a header without end",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 50_000 + b"\r\n",
            "AnswerNotHttp",
            "headers",
            False,
            id="headers without end",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnope\r\n",
            "AnswerNotHttp",
            "nope",
            False,
            id="garbage for a chunk",
        ),
    ],
)
async def test_a_bad_answer_is_a_clear_error(
    server: HttpServer, answer: bytes, error_type: str, words: str, permanent: bool
) -> None:
    server.answer = answer
    error = await error_of(server.url)
    assert (error.type, error.permanent, error.after) == (error_type, permanent, None)
    assert words in error.message
    # What a server says may be long, and the address's query is nobody's business.
    assert len(error.message) < 1100
    assert "secret" not in error.message


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "after"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("Thu, 01 Jan 2026 12:00:30 GMT", 30.0, id="a date"),
        pytest.param("soon", None, id="nonsense"),
        pytest.param("\xb2", None, id="nonsense that looks like a digit"),
    ],
)
async def test_a_busy_server_says_when_to_come_back(
    server: HttpServer, status: int, header: str, after: float | None
) -> None:
    server.answer = response(status, "busy", f"Retry-After: {header}")
    error = await error_of(server.url)
    assert error.message == f"HTTP {status}: busy"
    assert (error.type, error.after) == ("HttpStatus" if after is None else "Retry", after)
    assert not error.permanent


async def test_a_redirect_is_not_followed(server: HttpServer) -> None:
    server.answer = response(302, "", f"Location: {server.url}&again")
    error = await error_of(server.url)
    assert (error.type, error.permanent) == ("HttpStatus", True)
    assert error.message == "HTTP 302: redirects are not followed"
    assert len(server.requests) == 1


async def write_without_end(writer: asyncio.StreamWriter, head: bytes, piece: bytes) -> None:
    writer.write(head)
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("status", "error_type", "words"),
    [
        pytest.param(200, "ResultTooLarge", str(BODY_MAX_BYTES), id="a result"),
        pytest.param(500, "HttpStatus", "HTTP 500: xxx", id="the words of a failure"),
    ],
)
async def test_a_body_without_end_is_not_read_on(
    server: HttpServer, status: int, error_type: str, words: str
) -> None:
    head = f"HTTP/1.1 {status} Any\r\n\r\n".encode()
    server.answer = lambda writer: write_without_end(writer, head, b"x" * 4096)
    error = await error_of(server.url)
    assert error.type == error_type
    assert words in error.message
    assert len(error.message) < 1100
    await server.left.wait()


# No answer


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        port = bound.getsockname()[1]
        error = await error_of(f"http://127.0.0.1:{port}/?key=secret")
    assert (error.type, error.permanent, error.after) == ("ConnectionFailed", False, None)
    assert f"127.0.0.1:{port}" in error.message
    assert "secret" not in error.message


async def test_the_name_of_the_host_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = await error_of("http://mailer.shop.svc/?key=secret")
    assert (error.type, error.permanent) == ("ConnectionFailed", False)
    assert "mailer.shop.svc" in error.message
    assert "Name or service not known" in error.message
    assert "secret" not in error.message


async def test_the_host_is_no_address() -> None:
    error = await error_of("http://999.1.1.1/?key=secret")
    assert (error.type, error.permanent) == ("ConnectionFailed", False)
    assert "999.1.1.1" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="before the answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="in its head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1", id="in its body"),
    ],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_the_connection_ends(server: HttpServer, said: bytes, reset: bool) -> None:
    async def end(writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        if reset:
            lingering = writer.get_extra_info("socket")
            lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()

    server.answer = end
    error = await error_of(server.url)
    assert (error.type, error.permanent) == ("ConnectionFailed", False)
    assert error.message.startswith("no answer: ")
    assert "secret" not in error.message


async def test_the_status_of_a_failure_counts_though_its_words_break_off(
    server: HttpServer,
) -> None:
    async def end(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Any\r\nContent-Length: 9\r\n\r\nbad")
        await writer.drain()
        writer.close()

    server.answer = end
    error = await error_of(server.url)
    assert (error.type, error.message) == ("Rejected", "HTTP 400: bad")


# Time, and its end


async def say_nothing(writer: asyncio.StreamWriter) -> None:
    """Leave the client waiting."""


async def drip_head(writer: asyncio.StreamWriter) -> None:
    await drip(writer, b"HTTP/1.1 100 Continue\r\n\r\n")


async def drip_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await drip(writer, b" ")


async def drip_words(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 Any\r\n\r\n")
    await drip(writer, b" ")


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "slow", [say_nothing, drip_head, drip_body, drip_words], ids=lambda item: item.__name__
)
async def test_a_timeout_ends_the_request_and_its_connection(
    server: HttpServer, slow: Callable[[asyncio.StreamWriter], Any]
) -> None:
    server.answer = slow
    error = await error_of(server.url, timeout=0.3)
    assert (error.type, error.permanent) == ("Timeout", False)
    assert error.message == "the handler ran longer than its timeout of 0.3 s"
    await server.left.wait()


async def test_what_is_cancelled_closes_its_connection(server: HttpServer) -> None:
    server.answer = say_nothing
    running_job = asyncio.create_task(run(server.url))
    await server.arrived.wait()
    running_job.cancel()
    await asyncio.wait([running_job])
    assert running_job.cancelled()
    await server.left.wait()


async def test_jobs_run_side_by_side_without_a_process(server: HttpServer) -> None:
    together = asyncio.Barrier(4)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await together.wait()
        writer.write(response(200, "1"))

    server.answer = answer
    settings = HandlersSettings(http=HttpSettings(url=server.url))
    async with open_handling(settings, 4, lambda *_: None) as handling:
        await handling.runner.prepare()
        outcomes = await asyncio.gather(*(handling.runner.run(JOB) for _ in range(4)))
        handling.runner.close()
        assert handling.names is None
        assert not handling.broken.done()
    assert outcomes == [Success(b"1")] * 4


# TLS


async def test_a_server_with_tls_is_trusted_by_its_authority(
    server_context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(server_context) as server:
        url = server.url.replace("localhost", "127.0.0.1")
        error = await error_of(url)
        assert error.type == "ConnectionFailed"
        assert "certificate verify failed" in error.message
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
        assert await run(url) == Success(None)
