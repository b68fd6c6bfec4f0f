"""Keeps what handlers tell it, and gives it back: POST and GET of a path, a JSON line each."""

import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080

_lock = threading.Lock()
_lines: defaultdict[str, list[bytes]] = defaultdict(list)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        """Keep the body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with _lock:
            _lines[self.path].append(body)
        self._answer(b"")

    def do_GET(self) -> None:
        """Give back what was kept under the path, in order of arrival."""
        with _lock:
            body = b"\n".join(_lines[self.path])
        self._answer(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A server that a burst of connections does not overrun."""

    request_queue_size = 512
    daemon_threads = True


if __name__ == "__main__":
    Server(("", PORT), Handler).serve_forever()
