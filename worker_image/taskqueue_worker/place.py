"""Where a worker is, and what follows from that for each handler it starts."""

from dataclasses import dataclass

from taskqueue_api.retries import RetryPolicy
from taskqueue_worker.deliveries import OutsideMessage, TaskMessage
from taskqueue_worker.runners import Job


@dataclass(frozen=True)
class Place:
    """Where the worker is.

    cluster: UID of its kube-system. timeout: at most, in seconds. retry: of messages without one.
    """

    cluster: str
    namespace: str
    taskqueue: str
    slots: int
    timeout: float
    retry: RetryPolicy

    def task_job(self, message: TaskMessage, attempt: int) -> Job:
        """Return what a handler is started with for a Task. attempt: its number."""
        headers = message.headers
        # The TaskQueue's may have been lowered since.
        timeout = min(headers.timeout.total_seconds(), self.timeout)
        return self._job(message, attempt, timeout, headers.name, headers.run)

    def outside_job(self, message: OutsideMessage) -> Job:
        """Return what a handler is started with for a message without a Task."""
        return self._job(message, message.attempt, self.timeout, name="", run=0)

    def _job(
        self,
        message: TaskMessage | OutsideMessage,
        attempt: int,
        timeout: float,
        name: str,
        run: int,
    ) -> Job:
        return Job(
            handler=message.delivery.type,
            payload=message.payload,
            timeout=timeout,
            uid=message.delivery.message_id,
            attempt=attempt,
            namespace=self.namespace,
            name=name,
            queue=self.taskqueue,
            run=run,
        )
