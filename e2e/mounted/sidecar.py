"""A server of `http` handlers for the scenarios; it knows nothing of the worker's own code."""

import contextlib
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT = 8080
_RECORDER_SECONDS = 20
_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class Handler(BaseHTTPRequestHandler):
    """One request: a method for each of the Tasks' handlers."""

    def do_GET(self) -> None:
        """Tell the probe that it works."""
        self._answer(200, b"")

    def do_POST(self) -> None:
        """Run a Task."""
        self.payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.attempt = int(self.headers["Taskqueue-Attempt"])
        getattr(self, f"run_{self.headers['Taskqueue-Handler']}", self.run_nothing)()

    def run_nothing(self) -> None:
        """Refuse a handler that there is not."""
        self._answer(404, f"there is no {self.headers['Taskqueue-Handler']}".encode())

    def run_echo(self) -> None:
        """Answer with the payload."""
        self._result(self.payload)

    def run_about(self) -> None:
        """Answer with what came, and what the sidecar is given."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        given = {"user": os.getuid(), "token": _TOKEN.exists(), "worker": worker_settings()}
        self._result({"line": self.requestline, "headers": headers, "given": given})

    def run_record(self) -> None:
        """Record the run."""
        self._tell("run")
        self._result({"attempt": self.attempt})

    def run_hold(self) -> None:
        """Record the start, wait until the scenario lets go, record the end."""
        self._tell("start")
        gate = f"{os.environ['RECORDER_URL']}/{self.headers['Taskqueue-Namespace']}/gate"
        while not _fetch(gate):
            time.sleep(0.1)
        self._tell("end")
        self._result({"attempt": self.attempt})

    def run_fail(self) -> None:
        """Record the run; answer as {"status", "body", "headers"} say for so many "failures"."""
        self._tell("run")
        if self.attempt > self.payload.get("failures", 99):
            self._result({"attempt": self.attempt})
            return
        body = self.payload.get("body", "").encode()
        self._answer(self.payload["status"], body, self.payload.get("headers", {}))

    def run_hang(self) -> None:
        """Do not answer; record when the client has closed the connection."""
        with contextlib.suppress(ConnectionResetError):
            self.rfile.read()
        self._tell("closed")

    def run_big(self) -> None:
        """Answer with a text of as many bytes as the payload says, as JSON."""
        self._result("x" * (self.payload - 2))

    def run_garbage(self) -> None:
        """Answer with what is not HTTP."""
        self.wfile.write(bytes(range(256)))

    def run_cut(self) -> None:
        """Close the connection in the middle of the answer."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[1")

    def run_die(self) -> None:
        """Record the run; the first attempt ends the whole server."""
        self._tell("run")
        if self.attempt == 1:
            os._exit(3)
        self._result({"attempt": self.attempt})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""

    def _result(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode())

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _tell(self, event: str) -> None:
        entry = {
            "event": event,
            "uid": self.headers["Taskqueue-Uid"],
            "attempt": self.attempt,
            "name": self.headers["Taskqueue-Name"],
            "pod": os.environ["HOSTNAME"],
            "payload": self.payload,
        }
        url = f"{os.environ['RECORDER_URL']}/{self.headers['Taskqueue-Namespace']}"
        _fetch(url, json.dumps(entry).encode())


def worker_settings() -> list[str]:
    """Return the variables of the worker that are seen here; there should be none."""
    return [name for name in os.environ if name.startswith("TASKQUEUE_")]


def _fetch(url: str, data: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, data=data)  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=_RECORDER_SECONDS) as answer:  # noqa: S310 - ours
        content: bytes = answer.read()
    return content


class Server(ThreadingHTTPServer):
    """A server whose hanging requests do not keep it from ending."""

    request_queue_size = 512
    daemon_threads = True


if __name__ == "__main__":
    # At once, whatever it is running: who sends it too early breaks a request.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # A server that takes its time to start.
    time.sleep(float(os.environ.get("START_SECONDS", "0")))
    Server(("", PORT), Handler).serve_forever()
