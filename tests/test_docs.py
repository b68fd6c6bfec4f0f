"""Commands of the documentation say what the code does."""

import json
import subprocess

import pytest

from e2e.demo import SYSTEM_NAMESPACE
from e2e.docs import read_command
from e2e.system import RABBITMQ
from taskqueue_api import names


def run_as_shown(command: str) -> list[str]:
    """Return the arguments that a command of the documentation gives to kubectl."""
    script = f"kubectl() {{ printf '%s\\0' \"$@\"; }}\nNAMESPACE=shop QUEUE=emails\n{command}"
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, check=True, timeout=5, text=True
    )
    return done.stdout.split("\0")[:-1]


def test_the_redrive_moves_from_the_dead_letters_to_the_queue_and_ends() -> None:
    *start, definition = run_as_shown(read_command("dead-letters.md", "set_parameter shovel"))
    assert start == [
        *("-n", SYSTEM_NAMESPACE, "exec", f"{RABBITMQ}-0", "--"),
        *("rabbitmqctl", "set_parameter", "shovel", "redrive.shop.emails"),
    ]
    assert json.loads(definition) == {
        "src-protocol": "amqp091",
        "src-uri": "amqp://",
        "src-queue": names.dead_letter_queue("shop", "emails"),
        "src-delete-after": "queue-length",
        "ack-mode": "on-confirm",
        "dest-protocol": "amqp091",
        "dest-uri": "amqp://",
        "dest-queue": names.work_queue("shop", "emails"),
    }


def test_a_command_that_is_not_there_is_said() -> None:
    with pytest.raises(LookupError, match="0 commands with 'no such thing'"):
        read_command("dead-letters.md", "no such thing")
