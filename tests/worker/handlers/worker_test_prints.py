"""Prints at import, without a line's end."""

from typing import Any

from taskqueue_worker import task

print("imported", end="")


@task("say")
def say(payload: Any) -> None:
    print("said")
    raise ValueError
