"""/healthz, /readyz and /metrics, served by the same loop that does the work.

If that loop hangs, so do these, and the kubelet restarts the pod.
"""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from taskqueue_operator.errors import OperatorError

PORT = 8080


async def serve(
    faults: Callable[[], list[str]], ready: Callable[[], bool], port: int = PORT
) -> web.AppRunner:
    """Start the server; the caller cleans the runner up.

    faults: what is dead, one sentence each; none: healthy.
    Raises OperatorError when the port is taken.
    """

    async def healthz(_: web.Request) -> web.Response:
        found = faults()
        return web.Response(status=503 if found else 200, text="\n".join(found) or "ok")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=200 if ready() else 503, text="ok" if ready() else "starting")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
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
