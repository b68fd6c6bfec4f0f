"""The bare steps that a Task cannot do without, one after the other, with nothing in between.

A create and a patch by the API server, and by RabbitMQ a confirm of a publication to a quorum queue
and the delivery of its message.
"""

import statistics
import threading
import time

import pika
from pika.adapters.blocking_connection import BlockingChannel

from bench.figures import Readings
from bench.limit import measure_alone
from bench.stage import Stage
from e2e.rabbit import Rabbit

_QUEUE = "bench-steps"
_COUNT = 200
_BODY = b'{"hello": "world"}'


def measure(stage: Stage, readings: Readings) -> None:
    """Take one run of each step, and of the sum of their medians."""
    total = measure_alone(stage, readings)
    confirms, deliveries = _measure_broker(stage.system.rabbit)
    for name, seconds in (("confirm", confirms), ("deliver", deliveries)):
        median = statistics.median(seconds) * 1000
        readings.add(f"step_{name}_p50", "ms", median)
        total += median
    readings.add("steps_sum_p50", "ms", total)


def _measure_broker(rabbit: Rabbit) -> tuple[list[float], list[float]]:
    """Return the seconds from each publication to its confirm, and to its delivery."""
    came = threading.Event()
    moments: list[float] = []
    with rabbit.channel() as publishing, rabbit.channel() as consuming:
        arguments = {"x-queue-type": "quorum"}
        publishing.queue_declare(_QUEUE, durable=True, arguments=arguments)
        publishing.confirm_delivery()
        thread = threading.Thread(target=_consume, args=(consuming, came, moments))
        thread.start()
        confirms, deliveries = [], []
        for _ in range(_COUNT):
            came.clear()
            begun = time.perf_counter()
            properties = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
            publishing.basic_publish("", _QUEUE, _BODY, properties)
            confirms.append(time.perf_counter() - begun)
            came.wait()
            deliveries.append(moments[-1] - begun)
        consuming.connection.add_callback_threadsafe(consuming.stop_consuming)
        thread.join()
        publishing.queue_delete(_QUEUE)
    return confirms, deliveries


def _consume(channel: BlockingChannel, came: threading.Event, moments: list[float]) -> None:
    def take(_: object, method: pika.spec.Basic.Deliver, *_more: object) -> None:
        moments.append(time.perf_counter())
        channel.basic_ack(method.delivery_tag or 0)
        came.set()

    channel.basic_consume(_QUEUE, take)
    channel.start_consuming()
