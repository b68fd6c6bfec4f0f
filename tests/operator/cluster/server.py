"""An API server of a few lines."""

import json
from typing import Any

from aiohttp import web

V1BETA1 = "taskqueue.dev/v1beta1"
TASKS = "/apis/taskqueue.dev/v1beta1/namespaces/shop/tasks"


class Server:
    """An API server that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.requests: list[dict[str, Any]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        text = await request.text()
        self.requests.append(
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "type": request.headers.get("Content-Type"),
                "accept": request.headers.get("Accept"),
                "body": json.loads(text) if text else None,
            }
        )
        return self.answers.pop(0) if self.answers else web.json_response({})

    def answer(self, body: object = None, status: int = 200) -> None:
        """Answer the next request so."""
        self.answers.append(web.json_response(body or {}, status=status))

    @property
    def last(self) -> dict[str, Any]:
        """The last request."""
        return self.requests[-1]
