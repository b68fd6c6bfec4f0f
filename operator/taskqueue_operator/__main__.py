"""`python -m taskqueue_operator`: read the configuration and run."""

import asyncio
import signal
import sys

# The kernel keeps signals from PID 1 that it has no handler for. The image starts Python with the
# signal blocked, so that one that came before now is taken now.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

from pydantic import ValidationError  # noqa: E402

from taskqueue_api.nesting import allow_deep_json  # noqa: E402
from taskqueue_operator.app import run  # noqa: E402
from taskqueue_operator.errors import OperatorError  # noqa: E402
from taskqueue_operator.logs import configure_logging  # noqa: E402
from taskqueue_operator.settings import Settings  # noqa: E402


def main() -> int:
    """Return the exit code: 0 after a clean stop, 1 on failure, 2 for a wrong configuration."""
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            variable = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"TASKQUEUE_{variable}: {problem['msg']}", file=sys.stderr)
        return 2
    allow_deep_json()
    configure_logging(settings.log_format, settings.log_level)
    try:
        asyncio.run(run(settings))
    except OperatorError as error:
        print(f"the operator cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
