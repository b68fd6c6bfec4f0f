"""`http` handlers against a real server on loopback: what it is asked, and what it answers."""

import asyncio
import json
import ssl
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from taskqueue_worker.handling import open_handling
from taskqueue_worker.http_answers import BODY_MAX_BYTES
from taskqueue_worker.http_runner import HttpRunner, build_headers, open_session
from taskqueue_worker.outcomes import Success
from taskqueue_worker.settings import HandlersSettings, HttpSettings
from tests.worker.http_jobs import JOB, error_of, run
from tests.worker.http_server import HttpServer, response, running

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


# Several at once


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
        assert "its certificate is not trusted: self-signed certificate" in error.message
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
        assert await run(url) == Success(None)
