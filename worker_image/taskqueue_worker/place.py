"""Where a worker is, and what follows from that for each handler it starts."""

from dataclasses import dataclass

from taskqueue_api.retries import RetryPolicy
from taskqueue_worker.deliveries import Delivery
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

    def job(
        self,
        delivery: Delivery,
        payload: bytes,
        *,
        timeout: float,
        attempt: int,
        name: str,
        run: int = 0,
    ) -> Job:
        """Return what a handler is started with. timeout: seconds, if less than the TaskQueue's."""
        return Job(
            handler=delivery.type,
            payload=payload,
            # That of the TaskQueue may have been lowered since.
            timeout=min(timeout, self.timeout),
            uid=delivery.message_id,
            attempt=attempt,
            namespace=self.namespace,
            name=name,
            queue=self.taskqueue,
            run=run,
        )
