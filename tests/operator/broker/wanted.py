"""What the tests of the management API want to be there: a user and an operator policy."""

from taskqueue_operator.broker.management import Management

PERMISSIONS = {"configure": "^$", "write": "^w$", "read": "^r$"}
TOPIC = {"exchange": "taskqueue.dlx", "write": "^w$", "read": "^$"}
DELAY_TOPIC = {"exchange": "taskqueue.delay.25", "write": "^d$", "read": "^$"}
USER = "tq.shop.emails.0b9f3c1e"
POLICY = {
    "pattern": r"^tqd\.shop\.emails$",
    "definition": {"max-length": 5},
    "priority": -1,
    "apply-to": "queues",
}


async def ensure(api: Management) -> None:
    """See to the user."""
    await api.ensure_user(USER, "hash", PERMISSIONS, [TOPIC, DELAY_TOPIC])
