"""Lines of the log are written in bunches, and none is lost or late."""

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskqueue_worker.logs import BunchingHandler, JsonFormatter


class Stream(io.StringIO):
    """Keeps what each flush wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[str]] = []
        self.written = asyncio.Event()

    def flush(self) -> None:
        if lines := self.getvalue().splitlines():
            self.writes.append(lines)
            self.written.set()
            self.seek(0)
            self.truncate()


class Log:
    """A log, at a time that is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = Stream()
        self.handler = BunchingHandler(self.stream, lambda: self.now)

    def say(self, text: str, level: int = logging.INFO) -> None:
        record = logging.LogRecord("x", level, "f", 1, text, None, None)
        self.handler.handle(record)


@pytest.fixture
def log() -> Log:
    return Log()


async def test_a_line_is_written_at_once_and_those_soon_after_together(log: Log) -> None:
    log.say("a")
    assert log.stream.writes == [["a"]]
    for text in "bcd":
        log.now += 0.01
        log.say(text)
    assert log.stream.writes == [["a"]]
    log.stream.written.clear()
    await log.stream.written.wait()
    assert log.stream.writes == [["a"], ["b", "c", "d"]]
    log.now += 1
    log.say("e")
    assert log.stream.writes[2:] == [["e"]]


async def test_an_error_is_written_at_once_with_what_was_before(log: Log) -> None:
    log.say("a")
    log.say("b")
    log.say("c", logging.ERROR)
    log.say("d")
    assert log.stream.writes == [["a"], ["b", "c"]]
    log.handler.close()
    assert log.stream.writes[2:] == [["d"]]


def test_without_a_loop_nothing_waits(log: Log) -> None:
    log.say("a")
    log.say("b")
    assert log.stream.writes == [["a"], ["b"]]


def test_the_last_lines_are_written_when_the_process_ends() -> None:
    program = (
        "import asyncio, logging\n"
        "from taskqueue_worker.logs import configure_logging\n"
        "configure_logging('text')\n"
        "async def main():\n"
        "    for n in range(100): logging.info('line %s', n)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert [line.split()[-1] for line in done.stdout.decode().splitlines()] == [
        str(n) for n in range(100)
    ]


def test_a_line_is_json_with_what_was_bound_and_the_error() -> None:
    try:
        raise ValueError("no number")
    except ValueError:
        record = logging.LogRecord("a.b", 20, "f", 1, "%s!", ("done",), sys.exc_info())
    record.uid, record.object = "u", Path("é")
    line = json.loads(JsonFormatter().format(record))
    assert line.pop("exc_info").endswith("ValueError: no number")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", line.pop("time"))
    fields = {"level": "INFO", "logger": "a.b", "message": "done!"}
    assert line == {**fields, "uid": "u", "object": "é"}


def test_a_stream_that_nobody_reads_ends_nothing(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise BrokenPipeError

    monkeypatch.setattr(log.stream, "flush", refuse)
    log.say("a")
    log.say("b", logging.ERROR)
    log.handler.close()
