"""What can go wrong between the worker and RabbitMQ."""


class BrokerError(Exception):
    """The broker cannot be reached, refused something, or went away; the reason in its words.

    Never holds the address with its password.
    """


class UnroutableError(BrokerError):
    """The broker has no queue for a message."""
