"""`python -m taskqueue_operator`: read the configuration and run."""

import asyncio
import sys

from pydantic import ValidationError

from taskqueue_api.nesting import allow_deep_json
from taskqueue_operator.app import run
from taskqueue_operator.errors import OperatorError
from taskqueue_operator.logs import configure_logging
from taskqueue_operator.settings import Settings


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
