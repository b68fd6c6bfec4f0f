"""Publish messages with the client that a system's users have; print the seconds that it took.

A program of the rivals' environment: `python publisher.py SYSTEM COUNT [--seconds N]
[--bytes N]`, with BROKER_URL. With CONFIRM=1 each message is confirmed before the next is sent;
otherwise none is.
"""

import argparse
import json
import os
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple


class Client(NamedTuple):
    """publish: sends one message. close: returns when the broker has read all of them."""

    publish: Callable[[], object]
    close: Callable[[], object]


def payload_of(size: int) -> dict[str, str]:
    """Return a payload of so many bytes as JSON, at least 12."""
    return {"text": "x" * (size - len(json.dumps({"text": ""})))}


def ours(seconds: float | None, size: int = 0) -> Client:
    """Return a producer outside the cluster's API. size: of payloads; 0: there is none."""
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(os.environ["BROKER_URL"]))
    channel = connection.channel()
    confirm = os.environ.get("CONFIRM") == "1"
    if confirm:
        channel.confirm_delivery()
    nothing = payload_of(size) if size else None
    handler, payload = ("noop", nothing) if seconds is None else ("pause", {"seconds": seconds})
    key = os.environ["ROUTING_KEY"]

    def publish() -> None:
        properties = pika.BasicProperties(
            type=handler,
            message_id=str(uuid.uuid4()),
            content_type="application/json",
            delivery_mode=2,
        )
        body = json.dumps(payload).encode()
        channel.basic_publish("taskqueue", key, body, properties, mandatory=confirm)

    return Client(publish, connection.close)


def celery(seconds: float | None) -> Client:
    """Return Celery's client."""
    import celery_app

    task, arguments = (celery_app.noop, ()) if seconds is None else (celery_app.pause, (seconds,))
    # Its pool has one connection, and would drop it without a word to the broker.
    return Client(
        lambda: task.apply_async(arguments), lambda: celery_app.app.pool.acquire().close()
    )


def dramatiq(seconds: float | None) -> Client:
    """Return Dramatiq's client."""
    import dramatiq_app

    actor, arguments = (
        (dramatiq_app.noop, ()) if seconds is None else (dramatiq_app.pause, (seconds,))
    )
    return Client(lambda: actor.send(*arguments), dramatiq_app.broker.close)


def main() -> None:
    """Publish some to warm up if confirms are asked for, then the messages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("system", choices=("ours", "celery", "dramatiq"))
    parser.add_argument("count", type=int)
    parser.add_argument("--seconds", type=float, help="that a handler takes (default: no-op)")
    parser.add_argument("--bytes", type=int, default=0, help="of a payload of ours (default: none)")
    parser.add_argument("--warm-up", type=int, default=0, help="messages that are not timed")
    given = parser.parse_args()
    clients = {
        "ours": lambda seconds: ours(seconds, given.bytes),
        "celery": celery,
        "dramatiq": dramatiq,
    }
    client = clients[given.system](given.seconds)
    for _ in range(given.warm_up):
        client.publish()
    begun = time.perf_counter()
    for _ in range(given.count):
        client.publish()
    print(time.perf_counter() - begun)
    client.close()


if __name__ == "__main__":
    main()
