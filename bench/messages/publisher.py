"""Publish messages with the client that a system's users have; print the seconds that it took.

A program of the rivals' environment: `python publisher.py SYSTEM COUNT [--seconds N]`, with
BROKER_URL. With CONFIRM=1 each message is confirmed before the next is sent; otherwise none is.
"""

import argparse
import json
import os
import time
import uuid
from collections.abc import Callable

Publish = Callable[[], object]


def ours(seconds: float | None) -> Publish:
    """Return what publishes one message of a producer outside the cluster's API."""
    import pika

    channel = pika.BlockingConnection(pika.URLParameters(os.environ["BROKER_URL"])).channel()
    confirm = os.environ.get("CONFIRM") == "1"
    if confirm:
        channel.confirm_delivery()
    handler, payload = ("noop", None) if seconds is None else ("pause", {"seconds": seconds})

    def publish() -> None:
        properties = pika.BasicProperties(
            type=handler,
            message_id=str(uuid.uuid4()),
            content_type="application/json",
            delivery_mode=2,
        )
        body = json.dumps(payload).encode()
        key = os.environ["ROUTING_KEY"]
        channel.basic_publish("taskqueue", key, body, properties, mandatory=confirm)

    return publish


def celery(seconds: float | None) -> Publish:
    """Return what publishes one message of a Celery task."""
    import celery_app

    if seconds is None:
        return lambda: celery_app.noop.apply_async()
    return lambda: celery_app.pause.apply_async((seconds,))


def dramatiq(seconds: float | None) -> Publish:
    """Return what publishes one message of a Dramatiq actor."""
    import dramatiq_app

    if seconds is None:
        return lambda: dramatiq_app.noop.send()
    return lambda: dramatiq_app.pause.send(seconds)


def main() -> None:
    """Publish some to warm up if confirms are asked for, then the messages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("system", choices=("ours", "celery", "dramatiq"))
    parser.add_argument("count", type=int)
    parser.add_argument("--seconds", type=float, help="that a handler takes (default: no-op)")
    parser.add_argument("--warm-up", type=int, default=0, help="messages that are not timed")
    given = parser.parse_args()
    clients = {"ours": ours, "celery": celery, "dramatiq": dramatiq}
    publish = clients[given.system](given.seconds)
    for _ in range(given.warm_up):
        publish()
    begun = time.perf_counter()
    for _ in range(given.count):
        publish()
    print(time.perf_counter() - begun)


if __name__ == "__main__":
    main()
