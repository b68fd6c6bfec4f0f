"""Celery as it is set up for at-least-once on quorum queues, otherwise for speed."""

import os
import time

from celery import Celery

app = Celery("bench", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_default_queue="celery",
    task_default_queue_type="quorum",  # found by worker_detect_quorum_queues, which is the default
    task_default_exchange_type="topic",  # as Celery asks for with quorum queues
    task_acks_late=True,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    broker_transport_options={"confirm_publish": os.environ.get("CONFIRM") == "1"},
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop() -> None:
    """Do nothing."""


@app.task(name="pause")
def pause(seconds: float) -> None:
    """Take so long."""
    time.sleep(seconds)
