"""What the log makes of records that are not our own."""

import json
import logging
from collections.abc import Iterator

import pytest

from taskqueue_operator.handlers.settings import build
from taskqueue_operator.logs import configure_logging


@pytest.fixture
def _kept() -> Iterator[None]:
    """Give the logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("pika", "kopf")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, former in levels.items():
        logging.getLogger(name).setLevel(former)


@pytest.mark.usefixtures("_kept")
def test_a_handler_that_waits_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "INFO")
    extra = {"k8s_ref": {"namespace": "shop", "name": "emails"}, "settings": build()}
    log = logging.getLogger("kopf.objects")
    log.error("Handler 'delete' failed temporarily: 1 workers consume", extra=extra)
    log.error("Handler 'delete' failed permanently: no", extra=extra)
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["message"]) == ("ERROR", "Handler 'delete' failed permanently: no")
    assert (line["namespace"], line["object"]) == ("shop", "emails")
    assert "settings" not in line
