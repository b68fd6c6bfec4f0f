"""A management API of a few lines, on a real socket."""

import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.test_utils import RawTestServer

from taskqueue_operator.broker.management import Management
from tests.operator.builders import ADDRESS

Answer = Callable[[web.BaseRequest], web.Response | Awaitable[web.Response]]

LISTS = {
    "users": ("users", "name"),
    "vhosts/%2F/permissions": ("permissions", "user"),
    "vhosts/%2F/topic-permissions": ("topic-permissions", "user"),
    "operator-policies/%2F": ("operator-policies", "name"),
}
"""By path: the kind that is listed, and the member that has its name."""


class Server:
    """What a RabbitMQ answers: its users and permissions by path.

    answer: answers everything instead, when set.
    url: where it is.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answer | None = None
        self.url = ""
        self._clients: list[Management] = []
        self._serving: RawTestServer | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Serve at a free port, in place of where it was until now."""
        await self.stop()
        self._serving = RawTestServer(self._handle)
        await self._serving.start_server(ssl=tls)
        self.url = str(self._serving.make_url("/")).rstrip("/")

    async def stop(self) -> None:
        """End the clients, and serve no more."""
        for client in self._clients:
            await client.close()
        if self._serving:
            await self._serving.close()

    def management(
        self, leads: Callable[[], bool] = lambda: True, base: str | None = None, **address: Any
    ) -> Management:
        """Return a client of this server.

        base: of another one.
        """
        base = f"{self.url}/" if base is None else base
        client = Management(base, replace(ADDRESS, **address), leads)
        self._clients.append(client)
        return client

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        self.requests.append((request.method, request.raw_path))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.answer:
            answer = self.answer(request)
            return answer if isinstance(answer, web.Response) else await answer
        name = request.raw_path.removeprefix("/api/")
        if request.method == "PUT":
            self._put(name, json.loads(await request.read()))
            return web.Response(status=201)
        if name in LISTS:
            return web.json_response(self.listed(name))
        if name not in self.objects:
            found = {"error": "Object Not Found", "reason": "Not Found"}
            return web.json_response(found, status=404)
        if request.method == "DELETE":
            del self.objects[name]
            return web.Response(status=204)
        return web.json_response(self.objects[name])

    def _put(self, name: str, body: dict[str, Any]) -> None:
        if name.startswith("topic-permissions/"):
            others = [
                item for item in self.objects.get(name, []) if item["exchange"] != body["exchange"]
            ]
            self.objects[name] = [*others, body]
        else:
            self.objects[name] = {"name": "x", **body}

    def listed(self, name: str) -> list[dict[str, Any]]:
        """Return what a list has, each with what tells it from the others."""
        kind, by = LISTS[name]
        rows = []
        for path, found in self.objects.items():
            if path.startswith(f"{kind}/"):
                who = {by: unquote(path.rpartition("/")[2]), "vhost": "/"}
                several = found if isinstance(found, list) else [found]
                rows += [{**one, **who} for one in several]
        return rows

    @property
    def writes(self) -> list[str]:
        """Kinds of objects that were written, in order."""
        return [path.split("/")[2] for method, path in self.requests if method == "PUT"]
