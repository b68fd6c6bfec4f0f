"""What is said of a queue in RabbitMQ that the deletion of its TaskQueue leaves there."""


def describe_kept(queue: str, messages: int, consumers: int) -> str:
    """Return why a queue was kept: what it still has. At least one of the numbers is not 0."""
    held = [f"holds {count(messages, 'message')}"] if messages else []
    used = [f"has {count(consumers, 'consumer')}"] if consumers else []
    return f"queue '{queue}' {' and '.join([*held, *used])}, so it was kept in RabbitMQ"


def count(number: int, what: str) -> str:
    """Return a number of things. what: the word for one."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
