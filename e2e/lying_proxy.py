"""A proxy before RabbitMQ's management API that can say of all queues that they are empty."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import httpx

from e2e.node.network import POD_SUBNET
from e2e.rabbit import Rabbit

_TIMEOUT_SECONDS = 20.0
_PASSED_ON = ("Authorization", "Content-Type", "Accept")


class LyingProxy(ThreadingHTTPServer):
    """Passes requests on. lies: how many lists of queues were answered with zeros."""

    daemon_threads = True

    def __init__(self, rabbit: Rabbit) -> None:
        # The pods' gateway is this machine.
        super().__init__((str(ip_network(POD_SUBNET)[1]), 0), _Handler)
        self.behind = rabbit.management_uri
        self.lying = threading.Event()
        self.lies = 0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as pods reach it."""
        return str(self.server_address[0]), self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server: LyingProxy

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        url = f"{self.server.behind}{self.path}"
        answer = httpx.request(
            self.command,
            url,
            content=body,
            headers=headers,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )
        content = answer.content
        if (
            self.path.startswith("/api/queues/")
            and self.server.lying.is_set()
            and answer.is_success
        ):
            content = json.dumps(_emptied(answer.json())).encode()
            self.server.lies += 1
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_DELETE = do_POST = _pass_on  # noqa: N815 - names of http.server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _emptied(found: Any) -> Any:
    """Return a list of queues, or a page of one, with no message in any."""
    items = found.get("items", [found]) if isinstance(found, dict) else found
    for item in items:
        item |= {name: 0 for name in item if name.startswith("messages")}
    return found


@contextmanager
def lying_proxy(rabbit: Rabbit) -> Iterator[LyingProxy]:
    """Run a proxy; it lies once `lying` is set."""
    proxy = LyingProxy(rabbit)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
