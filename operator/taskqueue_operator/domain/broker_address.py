"""From a Secret to the address and credentials of a RabbitMQ.

Three shapes are in use: the RabbitMQ cluster operator's (`host`, `port`, `username`,
`password`), the messaging topology operator's (`uri` of the management API, `username`,
`password`), and a plain `uri` of amqp:// or amqps://.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, quote, unquote, urlsplit

from taskqueue_operator.errors import ConfigurationError

AMQP_PORT = 5672
AMQPS_PORT = 5671
MANAGEMENT_PORT = 15672
MANAGEMENT_TLS_PORT = 15671


@dataclass(frozen=True)
class BrokerAddress:
    """Where a vhost of a RabbitMQ is, and who we are there.

    management: base URL of the management API; None: not named in the Secret.
    ca: PEM certificates trusted for TLS; None: the system's.
    """

    host: str
    port: int
    tls: bool
    username: str
    password: str = field(repr=False)
    vhost: str
    management: str | None = None
    ca: str | None = None

    @property
    def uri(self) -> str:
        """The address as an AMQP URI. Holds the password: never log it."""
        scheme = "amqps" if self.tls else "amqp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"{scheme}://{quote(self.username, safe='')}:{quote(self.password, safe='')}"
            f"@{host}:{self.port}/{quote(self.vhost, safe='')}"
        )

    @property
    def display(self) -> str:
        """The address for people: no credentials."""
        return f"{self.host}:{self.port}, vhost '{self.vhost}', user '{self.username}'"

    def for_user(self, username: str, password: str) -> "BrokerAddress":
        """Return the same place for another user."""
        return replace(self, username=username, password=password)

    def fingerprint(self) -> str:
        """Return 16 hex digits that change when anything a client needs changes."""
        return hashlib.sha256(f"{self.uri}\n{self.ca or ''}".encode()).hexdigest()[:16]


def decode_secret(secret: Mapping[str, object]) -> dict[str, str]:
    """Return the text values of a Secret object; values that are not UTF-8 are left out."""
    data = secret.get("data") or {}
    decoded: dict[str, str] = {}
    if not isinstance(data, Mapping):
        return decoded
    for key, value in data.items():
        try:
            decoded[str(key)] = base64.b64decode(str(value)).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return decoded


def parse_broker_secret(data: Mapping[str, str], *, secret: str, vhost: str) -> BrokerAddress:
    """Return the address that a Secret's decoded data describes.

    secret: `namespace/name`, for messages.
    Raises ConfigurationError (`SecretInvalid`) naming the key that is missing or wrong; the
    message never holds a value.
    """
    uri = data.get("uri", "").strip()
    ca = data.get("ca.crt") or None
    if uri:
        parts = _split(uri, secret)
        if parts.scheme in ("amqp", "amqps"):
            return _from_amqp(parts, data, secret, vhost, ca)
        if parts.scheme in ("http", "https"):
            return _from_management(parts, data, secret, vhost, ca)
        raise _invalid(secret, "key 'uri' must begin with amqp://, amqps://, http:// or https://")
    if data.get("host", "").strip():
        return _from_host(data, secret, vhost, ca)
    raise _invalid(secret, "it needs key 'uri', or keys 'host', 'username' and 'password'")


def _from_amqp(
    parts: SplitResult, data: Mapping[str, str], secret: str, vhost: str, ca: str | None
) -> BrokerAddress:
    tls = parts.scheme == "amqps"
    named = unquote(parts.path.removeprefix("/"))
    if named not in ("", vhost):
        raise ConfigurationError(
            "VhostMismatch",
            f"Secret '{secret}' names vhost '{named}' in key 'uri', and spec.broker.vhost is "
            f"'{vhost}': make them the same",
        )
    username = unquote(parts.username or "") or data.get("username", "").strip()
    password = unquote(parts.password or "") or data.get("password", "")
    if not username or not password:
        raise _invalid(secret, "key 'uri' must hold user and password: amqp://user:password@host")
    return BrokerAddress(
        host=_host(parts, secret),
        port=parts.port or (AMQPS_PORT if tls else AMQP_PORT),
        tls=tls,
        username=username,
        password=password,
        vhost=vhost,
        ca=ca,
    )


def _from_management(
    parts: SplitResult, data: Mapping[str, str], secret: str, vhost: str, ca: str | None
) -> BrokerAddress:
    tls = parts.scheme == "https"
    host = _host(parts, secret)
    port = parts.port or (MANAGEMENT_TLS_PORT if tls else MANAGEMENT_PORT)
    shown = f"[{host}]" if ":" in host else host
    return BrokerAddress(
        host=host,
        port=AMQPS_PORT if tls else AMQP_PORT,
        tls=tls,
        username=_required(data, "username", secret).strip(),
        password=_required(data, "password", secret),
        vhost=vhost,
        management=f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}",
        ca=ca,
    )


def _from_host(data: Mapping[str, str], secret: str, vhost: str, ca: str | None) -> BrokerAddress:
    port_text = data.get("port", "").strip() or str(AMQP_PORT)
    if not port_text.isdecimal() or not 0 < int(port_text) < 65536:
        raise _invalid(secret, "key 'port' must be a number from 1 to 65535")
    connection = data.get("connection_string", "")
    return BrokerAddress(
        host=data["host"].strip(),
        port=int(port_text),
        tls=connection.startswith("amqps://") or int(port_text) == AMQPS_PORT,
        username=_required(data, "username", secret).strip(),
        password=_required(data, "password", secret),
        vhost=vhost,
        ca=ca,
    )


def default_management(address: BrokerAddress) -> str:
    """Return where the management API is by default, on the broker's own host."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    if address.tls:
        return f"https://{host}:{MANAGEMENT_TLS_PORT}"
    return f"http://{host}:{MANAGEMENT_PORT}"


def service_of(host: str) -> tuple[str, str] | None:
    """Return (namespace, name) of the Service that a host name means; None: it names none."""
    parts = host.rstrip(".").split(".")
    if len(parts) == 2 or (len(parts) > 2 and parts[2] == "svc"):
        return parts[1], parts[0]
    return None


def management_of_service(service: Mapping[str, object], host: str) -> str | None:
    """Return the management URL that a Service offers on `host`; None: it has no such port."""
    spec = service.get("spec")
    ports = spec.get("ports", []) if isinstance(spec, Mapping) else []
    by_name = {port.get("name"): port.get("port") for port in ports}
    if "management-tls" in by_name:
        return f"https://{host}:{by_name['management-tls']}"
    if "management" in by_name:
        return f"http://{host}:{by_name['management']}"
    return None


def _split(uri: str, secret: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.port  # parsed only when asked for
    except ValueError:
        # `from None`: the original message quotes the URI, and with it the password.
        raise _invalid(secret, "key 'uri' cannot be read as an address") from None
    return parts


def _host(parts: SplitResult, secret: str) -> str:
    if not parts.hostname:
        raise _invalid(secret, "key 'uri' must name a host")
    return parts.hostname


def _required(data: Mapping[str, str], key: str, secret: str) -> str:
    value = data.get(key, "")
    if not value.strip():
        raise _invalid(secret, f"key '{key}' is missing or empty")
    return value


def _invalid(secret: str, what: str) -> ConfigurationError:
    return ConfigurationError("SecretInvalid", f"Secret '{secret}' cannot be used: {what}")
