"""The same handlers for our workers, which find this module mounted."""

import time
from typing import Any

from taskqueue_worker import task


@task("noop")
def noop(payload: Any) -> None:
    """Do nothing."""


@task("pause")
def pause(payload: dict[str, float]) -> None:
    """Take {"seconds": n}."""
    time.sleep(payload["seconds"])
