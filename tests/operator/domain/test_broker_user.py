"""The password hash is one that RabbitMQ accepts, and always the same."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_operator.domain.broker_user import HASHING_ALGORITHM, password_hash


def accepts(stored: str, password: str) -> bool:
    """Return whether RabbitMQ, having stored this hash, lets the password in."""
    raw = base64.b64decode(stored, validate=True)
    return len(raw) == 36 and hashlib.sha256(raw[:4] + password.encode()).digest() == raw[4:]


@pytest.mark.parametrize(
    ("stored", "password"),
    [
        # RabbitMQ's documentation, "Credentials and Passwords".
        ("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", "test12"),
        # Exported from a RabbitMQ: https://stackoverflow.com/questions/41306350
        ("y4xPTRVfzXg68sz9ALqeQzARam3CwnGo53xS752cDV5+Utzh", "1"),
    ],
)
def test_hashes_made_by_rabbitmq_are_of_the_form_that_this_test_knows(
    stored: str, password: str
) -> None:
    assert accepts(stored, password)
    assert not accepts(stored, password + "x")


@given(password=st.text(), source=st.text())
def test_rabbitmq_accepts_the_password(password: str, source: str) -> None:
    stored = password_hash(password, source)
    assert accepts(stored, password)
    assert not accepts(stored, password + "x")
    assert stored == password_hash(password, source)


def test_two_users_with_one_password_have_two_hashes() -> None:
    assert password_hash("same", "one") != password_hash("same", "other")


def test_the_algorithm_is_named_as_rabbitmq_names_it() -> None:
    assert HASHING_ALGORITHM == "rabbit_password_hashing_sha256"
