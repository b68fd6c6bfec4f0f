"""`python -m taskqueue_operator`: read the configuration and run."""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Sequence
from typing import Any

# The kernel keeps signals from PID 1 that it has no handler for. The image starts Python with the
# signal blocked, so that one that came before now is taken now.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

import uvloop  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from taskqueue_api.nesting import allow_deep_json  # noqa: E402
from taskqueue_operator.app import run  # noqa: E402
from taskqueue_operator.errors import OperatorError  # noqa: E402
from taskqueue_operator.logs import configure_logging  # noqa: E402
from taskqueue_operator.settings import Settings  # noqa: E402

_HELP = """Everything is configured by environment variables, TASKQUEUE_..., which the chart sets.
What is given here wins over them."""


def main(arguments: Sequence[str] = ()) -> int:
    """Return the exit code: 0 after a clean stop, 1 on failure, 2 for a wrong configuration."""
    given = _read(arguments)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for problem in error.errors():
            field = "_".join(str(part) for part in problem["loc"])
            place = _option(field) if field in given else f"TASKQUEUE_{field.upper()}"
            print(f"{place}: {problem['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 2
    _collect_garbage_often()
    allow_deep_json()
    configure_logging(settings.log_format, settings.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except OperatorError as error:
        print(f"the operator cannot start: {error}", file=sys.stderr)
        return 1
    return 0


def _collect_garbage_often() -> None:
    """Have Python look for garbage before there is much of it.

    It waits until a quarter of all objects is new, and what it takes meanwhile it seldom gives
    back. What was imported stays anyway, and is left out.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2000, 5, 2)


def _read(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a command line, by their names. Exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m taskqueue_operator", description=_HELP, allow_abbrev=False
    )
    for field, metavar, text in (
        ("watch_namespaces", "A,B", "the namespaces to serve; empty: all of them"),
        ("shard", "I/N", "the part of the TaskQueues to serve, from 1/N to N/N; empty: all"),
    ):
        parser.add_argument(_option(field), metavar=metavar, help=text, default=argparse.SUPPRESS)
    return vars(parser.parse_args(arguments))


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
