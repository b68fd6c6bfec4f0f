"""/livez, /healthz, /readyz and /metrics, served by the same loop that does the work.

If that loop hangs, so do these, and the kubelet restarts the pod. It asks /livez, which fails for
what a restart can cure; /healthz, for people and alerts, tells of what it cannot as well.
"""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from taskqueue_operator.errors import OperatorError

PORT = 8080


Faults = Callable[[], list[str]]


async def serve(
    dead: Faults, missing: Faults, ready: Callable[[], bool], port: int = PORT
) -> web.AppRunner:
    """Start the server; the caller cleans the runner up.

    dead: what is dead in this process, one sentence each. missing: what it waits for.
    Raises OperatorError when the port is taken.
    """

    def answer(faults: list[str]) -> web.Response:
        return web.Response(status=503 if faults else 200, text="\n".join(faults) or "ok")

    async def livez(_: web.Request) -> web.Response:
        return answer(dead())

    async def healthz(_: web.Request) -> web.Response:
        return answer(dead() + missing())

    async def readyz(_: web.Request) -> web.Response:
        return answer([] if ready() else missing() or ["starting"])

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
    except OSError as error:
        await runner.cleanup()
        raise OperatorError(f"port {port} for metrics and health is taken: {error}") from error
    return runner
