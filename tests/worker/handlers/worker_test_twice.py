"""A module that registers a handler twice."""

from typing import Any

from taskqueue_worker import task


@task("twice")
def first(payload: Any) -> None: ...


@task("twice")
def second(payload: Any) -> None: ...
