"""The worker: takes messages off one queue, runs their handlers, writes what came of them.

Handlers import `task`, `Context`, `Retry` and `Reject` from here. The import is light on
purpose: it happens in every process that runs handlers.
"""

from taskqueue_worker.sdk import Context, Reject, Retry, task

__all__ = ["Context", "Reject", "Retry", "task"]
