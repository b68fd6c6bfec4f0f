"""The cluster's certificate authority, and the certificates and keys it gives to each part.

All of it is made anew for each cluster and lies below the state folder, readable by root only.
"""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from e2e.node.network import SERVICE_API_IP

NODE_NAME = "taskqueue-node"
TOKEN_KEY = "service-accounts.key"
_LIFETIME = datetime.timedelta(days=365)
# Clocks of pods and of this machine are the same, but not those of whoever looks at a copy.
_BACKDATED = datetime.timedelta(hours=1)
_API_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True)
class Subject:
    """Who a certificate speaks for. group is what Kubernetes reads as the user's group."""

    name: str
    group: str | None = None
    # Names and addresses it may serve under; None: a client only.
    hosts: tuple[str, ...] = ()


def subjects(node_ip: str) -> dict[str, Subject]:
    """Return every certificate of the cluster by the name of its file."""
    return {
        "apiserver": Subject(
            "kube-apiserver", hosts=(*_API_NAMES, node_ip, "127.0.0.1", SERVICE_API_IP)
        ),
        "apiserver-kubelet-client": Subject("kube-apiserver-kubelet-client"),
        "kubelet-server": Subject(f"kubelet-{NODE_NAME}", hosts=(NODE_NAME, node_ip, "127.0.0.1")),
        "kubelet": Subject(f"system:node:{NODE_NAME}", "system:nodes"),
        "controller-manager": Subject("system:kube-controller-manager"),
        "scheduler": Subject("system:kube-scheduler"),
        "kube-proxy": Subject("system:kube-proxy"),
        "admin": Subject("kubernetes-admin", "system:masters"),
    }


class Authority:
    """Writes certificates signed by one new authority into a folder as NAME.crt and NAME.key."""

    def __init__(self, folder: Path) -> None:
        """Make the authority's own key and certificate: ca.key, ca.crt."""
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(Subject("taskqueue-node-ca"))
        builder = _builder(self._name, self._name, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        self._key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(_key_usage(signs_certificates=True), True)
        self._write("ca", self._key, builder.sign(self._key, hashes.SHA256()))

    def issue(self, file_name: str, subject: Subject) -> None:
        """Write a new key and its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(subject), self._name, key)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        # Python 3.13 refuses certificates without it.
        builder = builder.add_extension(self._key_id, False)
        builder = builder.add_extension(_key_usage(signs_certificates=False), True)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if subject.hosts:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            names = x509.SubjectAlternativeName([_alternative(host) for host in subject.hosts])
            builder = builder.add_extension(names, False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        self._write(file_name, key, builder.sign(self._key, hashes.SHA256()))

    def _write(
        self, file_name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        write_key(self._folder / f"{file_name}.key", key)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        (self._folder / f"{file_name}.crt").write_bytes(pem)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key, readable by its owner only.

    Not as PKCS 8: of that the API server reads no public key to check tokens with.
    """
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def write_certificates(folder: Path, node_ip: str) -> None:
    """Write all certificates of a new cluster, and the key that signs service account tokens."""
    folder.mkdir(parents=True, mode=0o700)
    authority = Authority(folder)
    for file_name, subject in subjects(node_ip).items():
        authority.issue(file_name, subject)
    write_token_key(folder / TOKEN_KEY)


def write_token_key(path: Path) -> None:
    """Write a new key that signs the tokens of service accounts."""
    write_key(path, ec.generate_private_key(ec.SECP256R1()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _name(subject: Subject) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject.name)]
    if subject.group:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.group))
    return x509.Name(attributes)


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
