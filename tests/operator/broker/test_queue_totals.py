"""The depths of all queues of a vhost, as RabbitMQ's management API tells them."""

from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from taskqueue_operator.broker.management import QueueTotals
from taskqueue_operator.errors import ManagementRefusedError, ManagementUnavailableError
from tests.operator.broker.server import Server


def row(name: str, ready: Any = 0, unacknowledged: Any = 0) -> dict[str, Any]:
    """A queue as RabbitMQ lists it."""
    return {"name": name, "messages_ready": ready, "messages_unacknowledged": unacknowledged}


async def read(server: Server) -> dict[str, QueueTotals]:
    return await server.management().queue_totals(r"^tqd?\.")


async def test_one_call_reads_five_hundred_queues(server: Server) -> None:
    rows = [row(f"tq.shop.q{n}", n, 1) for n in range(500)]
    server.answer = lambda _: web.json_response({"items": rows, "page_count": 1})
    totals = await read(server)
    assert len(totals) == 500
    assert totals["tq.shop.q7"] == QueueTotals(7, 1)
    ((method, path),) = server.requests
    assert method == "GET"
    assert path.startswith("/api/queues/%2F?")
    query = URL(path, encoded=True).query
    assert query["name"] == r"^tqd?\."
    assert (query["page"], query["page_size"]) == ("1", "500")
    assert query["columns"] == "name,messages_ready,messages_unacknowledged"


async def test_the_next_pages_are_read_too(server: Server) -> None:
    def answer(request: web.BaseRequest) -> web.Response:
        page = request.rel_url.query["page"]
        return web.json_response({"items": [row(f"tq.shop.q{page}")], "page_count": 3})

    server.answer = answer
    assert set(await read(server)) == {"tq.shop.q1", "tq.shop.q2", "tq.shop.q3"}


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
    server.answer = lambda _: web.json_response({"items": rows, "page_count": 1})
    assert await read(server) == {"tq.shop.good": QueueTotals(1, 0)}


@pytest.mark.parametrize(
    "answer", [{}, [], {"items": None, "page_count": None}, {"items": {}, "page_count": 0}]
)
async def test_an_odd_answer_tells_of_no_queue(server: Server, answer: Any) -> None:
    server.answer = lambda _: web.json_response(answer)
    assert await read(server) == {}


@pytest.mark.parametrize(
    ("status", "error"), [(401, ManagementRefusedError), (503, ManagementUnavailableError)]
)
async def test_what_rabbitmq_does_not_tell_is_an_error(
    server: Server, status: int, error: type[Exception]
) -> None:
    server.answer = lambda _: web.json_response({"reason": "no"}, status=status)
    with pytest.raises(error, match="no"):
        await read(server)
