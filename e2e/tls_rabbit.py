"""A RabbitMQ that is reached over TLS only, with an authority of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from e2e.rabbit_pod import FOLDER, start_rabbit
from e2e.space import Space

NAME = "tls-rabbitmq"
USER = "tls-user"
PASSWORD = "tls-password"
_CONFIG = f"""
listeners.tcp = none
listeners.ssl.default = 5671
ssl_options.cacertfile = {FOLDER}/ca.crt
ssl_options.certfile = {FOLDER}/tls.crt
ssl_options.keyfile = {FOLDER}/tls.key
management.ssl.port = 15671
management.ssl.cacertfile = {FOLDER}/ca.crt
management.ssl.certfile = {FOLDER}/tls.crt
management.ssl.keyfile = {FOLDER}/tls.key
default_user = {USER}
default_pass = {PASSWORD}
"""


@dataclass(frozen=True)
class Authority:
    """An authority, and a server's certificate by it. All PEM."""

    ca: str
    certificate: str
    key: str


def make_authority(host: str) -> Authority:
    """Return a new authority, with a certificate for a host name."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = _name("authority of a scenario")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                **dict.fromkeys(
                    (
                        "digital_signature",
                        "content_commitment",
                        "key_encipherment",
                        "data_encipherment",
                        "key_agreement",
                        "encipher_only",
                        "decipher_only",
                    ),
                    False,
                ),
                key_cert_sign=True,
                crl_sign=True,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _builder(_name(host), ca_name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(issuer, False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Authority(_pem(ca), _pem(certificate), private.decode())


def start_tls_rabbit(space: Space) -> Authority:
    """Start it in a namespace, at `tls-rabbitmq.NAMESPACE.svc`."""
    authority = make_authority(f"{NAME}.{space.name}.svc")
    files = {"ca.crt": authority.ca, "tls.crt": authority.certificate, "tls.key": authority.key}
    start_rabbit(space, NAME, _CONFIG, {"amqps": 5671, "management-tls": 15671}, files)
    return authority


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _name(text: str) -> x509.Name:
    # A common name has at most 64 characters.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
