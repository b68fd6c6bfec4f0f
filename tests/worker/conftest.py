"""What the worker's tests share."""

import ipaddress
import os
import select
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.worker.http_server import HttpServer, running


@pytest.fixture
def has_ended() -> Callable[[int], bool]:
    """Wait for the end of a process that need not be a child of ours."""

    def wait(pid: int) -> bool:
        """Return False when it still runs after 5 s. A zombie has ended."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        with os.fdopen(descriptor) as process:
            return bool(select.select([process], [], [], 5)[0])

    return wait


@pytest.fixture
def server_context(tmp_path: Path) -> ssl.SSLContext:
    """Return what a server at 127.0.0.1 needs for the new `ca.crt` in tmp_path.

    It has no key identifiers, as many have none.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "ca.crt").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "server.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return context


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    """Give an HTTP server for `http` handlers."""
    async with running() as started:
        yield started
