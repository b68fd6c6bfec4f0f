"""Tasks as the API server shows them."""

from taskqueue_api.messages import TaskUid
from taskqueue_worker.statuses import TaskView

UID = TaskUid("uid-1")
PENDING = TaskView(
    uid=UID,
    resource_version="7",
    phase="Pending",
    run=0,
    attempts=0,
    dispatches=1,
    start_time=None,
    worker={},
    error_type="",
    error_message="",
)
