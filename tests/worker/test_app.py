"""The whole process, as far as it comes without a cluster."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = {
    "TASKQUEUE_NAMESPACE": "ns",
    "TASKQUEUE_NAME": "q",
    "TASKQUEUE_CLUSTER": "c",
    "TASKQUEUE_CONCURRENCY": "1",
    "TASKQUEUE_TIMEOUT": "30s",
    "TASKQUEUE_RETRY": "",
    "TASKQUEUE_HANDLERS": '{"python": {"module": "worker_test_handlers"}}',
    "TASKQUEUE_GRACE": "30",
    "TASKQUEUE_POD_NAME": "p",
    "TASKQUEUE_PORT": "0",
    "KUBERNETES_SERVICE_HOST": "127.0.0.1",
    "KUBERNETES_SERVICE_PORT": "1",
}


def worker(changes: dict[str, str]) -> subprocess.Popen[str]:
    handlers = str(Path(__file__).parent / "handlers")
    path = os.pathsep.join(filter(None, [handlers, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "taskqueue_worker"],
        env={**os.environ, **GOOD, "PYTHONPATH": path, **changes},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", ["TASKQUEUE_CONCURRENCY", "KUBERNETES_SERVICE_HOST"])
def test_wrong_settings_end_it_with_a_sentence(name: str) -> None:
    process = worker({name: ""})
    output, errors = process.communicate()
    assert process.returncode == 2
    assert output == ""
    assert name in errors
    assert "Traceback" not in errors


def test_a_module_that_cannot_be_imported_is_one_log_line() -> None:
    process = worker({"TASKQUEUE_HANDLERS": '{"python": {"module": "worker_test_broken"}}'})
    output, _ = process.communicate()
    assert process.returncode == 1
    record = json.loads(output)
    assert record["level"] == "ERROR"
    assert "'worker_test_broken'" in record["message"]
    assert "no database here" in record["message"]
    assert "worker_test_broken.py" in record["traceback"]


@pytest.mark.parametrize(
    "handlers",
    [
        pytest.param('{"python": {"module": "worker_test_handlers"}}', id="python"),
        pytest.param('{"exec": {"command": ["cat"]}}', id="exec"),
        pytest.param('{"http": {"url": "http://localhost:1/"}}', id="http"),
    ],
)
@pytest.mark.usefixtures("server_context")  # writes ca.crt
def test_it_starts_with_everything_away_and_stops_when_told(tmp_path: Path, handlers: str) -> None:
    (tmp_path / "token").write_text("secret-token")
    (tmp_path / "uri").write_text("amqp://user:secret-password@127.0.0.1:1/%2F")
    folder = str(tmp_path)
    folders = {"TASKQUEUE_BROKER": folder, "TASKQUEUE_SERVICE_ACCOUNT": folder}
    process = worker({"TASKQUEUE_HANDLERS": handlers, **folders})
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert json.loads(lines[0])["message"] == "started"
    assert "secret" not in "".join(lines) + output + errors
