"""A client, and the API server that it talks to."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio import client as kubernetes_client

from taskqueue_operator.cluster.client import ClusterClient
from tests.operator.cluster.server import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ClusterClient]:
    configuration = kubernetes_client.Configuration(host=server.url)
    client = ClusterClient(kubernetes_client.ApiClient(configuration))
    yield client
    await client.close()
