"""A module that starts a thread when it is imported: no process of it may be forked."""

import threading
from typing import Any

from taskqueue_worker import task

_LOCK = threading.Lock()
threading.Thread(target=threading.Event().wait, daemon=True).start()


@task("threads")
def threads(payload: Any) -> int:
    with _LOCK:
        return threading.active_count()


@task("say")
def say(payload: Any) -> None:
    print("said")
    raise ValueError
