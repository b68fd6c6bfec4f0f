"""The least server of `http` handlers, for a worker of one slot: it runs in the worker's image."""

import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

PORT = 8080


class Handler(BaseHTTPRequestHandler):
    """Answers each request with no result."""

    def do_GET(self) -> None:
        """Tell the probe that it works."""
        self._answer()

    def do_POST(self) -> None:
        """Read the payload, and do nothing."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing of what went well."""

    def _answer(self) -> None:
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    HTTPServer(("", PORT), Handler).serve_forever()
