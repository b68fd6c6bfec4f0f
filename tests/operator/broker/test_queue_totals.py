"""The depths of all queues of a vhost, as RabbitMQ's management API tells them."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from taskqueue_operator.broker.management import Management, QueueTotals
from taskqueue_operator.errors import ManagementRefusedError, ManagementUnavailableError
from tests.operator.builders import ADDRESS

Answer = Callable[[httpx.Request], httpx.Response]


def row(name: str, ready: Any = 0, unacknowledged: Any = 0) -> dict[str, Any]:
    """A queue as RabbitMQ lists it."""
    return {"name": name, "messages_ready": ready, "messages_unacknowledged": unacknowledged}


class Server:
    """What answers, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.URL] = []
        self.answer: Answer = lambda _: httpx.Response(200, json={})

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.asked.append(request.url)
        return self.answer(request)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    class Client(httpx.AsyncClient):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, transport=httpx.MockTransport(server.handle))

    monkeypatch.setattr("taskqueue_operator.broker.management.httpx.AsyncClient", Client)
    return server


async def read() -> dict[str, QueueTotals]:
    return await Management("http://h:15672", ADDRESS).queue_totals(r"^tqd?\.")


async def test_one_call_reads_five_hundred_queues(server: Server) -> None:
    rows = [row(f"tq.shop.q{n}", n, 1) for n in range(500)]
    server.answer = lambda _: httpx.Response(200, json={"items": rows, "page_count": 1})
    totals = await read()
    assert len(totals) == 500
    assert totals["tq.shop.q7"] == QueueTotals(7, 1)
    (url,) = server.asked
    assert url.path == "/api/queues//"
    assert url.raw_path.startswith(b"/api/queues/%2F?")
    assert url.params["name"] == r"^tqd?\."
    assert (url.params["page"], url.params["page_size"]) == ("1", "500")
    assert url.params["columns"] == "name,messages_ready,messages_unacknowledged"


async def test_the_next_pages_are_read_too(server: Server) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        page = request.url.params["page"]
        return httpx.Response(200, json={"items": [row(f"tq.shop.q{page}")], "page_count": 3})

    server.answer = answer
    assert set(await read()) == {"tq.shop.q1", "tq.shop.q2", "tq.shop.q3"}


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"name": "tq.shop.odd"}, id="no totals"),
        pytest.param(row("tq.shop.odd", None, 1), id="ready is null"),
        pytest.param(row("tq.shop.odd", 1, None), id="unacknowledged is null"),
        pytest.param(row("tq.shop.odd", "3", 1), id="a text"),
        pytest.param({"messages_ready": 1, "messages_unacknowledged": 1}, id="no name"),
        pytest.param("tq.shop.odd", id="no object"),
    ],
)
async def test_a_queue_without_totals_is_no_zero(server: Server, odd: Any) -> None:
    rows = [row("tq.shop.good", 1), odd]
    server.answer = lambda _: httpx.Response(200, json={"items": rows, "page_count": 1})
    assert await read() == {"tq.shop.good": QueueTotals(1, 0)}


@pytest.mark.parametrize(
    "answer", [{}, [], {"items": None, "page_count": None}, {"items": {}, "page_count": 0}]
)
async def test_an_odd_answer_tells_of_no_queue(server: Server, answer: Any) -> None:
    server.answer = lambda _: httpx.Response(200, json=answer)
    assert await read() == {}


@pytest.mark.parametrize(
    ("status", "error"), [(401, ManagementRefusedError), (503, ManagementUnavailableError)]
)
async def test_what_rabbitmq_does_not_tell_is_an_error(
    server: Server, status: int, error: type[Exception]
) -> None:
    server.answer = lambda _: httpx.Response(status, json={"reason": "no"})
    with pytest.raises(error, match="no"):
        await read()
