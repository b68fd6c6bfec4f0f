"""Dramatiq on quorum queues, with the middleware that it has by default."""

import os
import time
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker


class QuorumBroker(RabbitmqBroker):
    """Dramatiq has no setting for the type of its queues."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return {**super()._build_queue_arguments(queue_name), "x-queue-type": "quorum"}


broker = QuorumBroker(
    url=os.environ["BROKER_URL"], confirm_delivery=os.environ.get("CONFIRM") == "1"
)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="dramatiq")
def noop() -> None:
    """Do nothing."""


@dramatiq.actor(queue_name="dramatiq")
def pause(seconds: float) -> None:
    """Take so long."""
    time.sleep(seconds)
