"""RabbitMQ's password hash, so that drift of a user's password can be seen without writing."""

import base64
import hashlib

HASHING_ALGORITHM = "rabbit_password_hashing_sha256"


def password_hash(password: str, salt_source: str) -> str:
    """Return what RabbitMQ stores for a password: base64 of 4 bytes of salt and a SHA-256.

    salt_source: makes the salt, so that the same user and password always give the same hash
    (a random salt could not be compared). Format: RabbitMQ's documentation, "Credentials and
    Passwords".
    """
    salt = hashlib.sha256(salt_source.encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
