"""A broker's address from the Secrets that are in use, and no secret in any message."""

import base64
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pika
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskqueue_operator.domain.broker_address import (
    BrokerAddress,
    decode_secret,
    default_management,
    management_of_service,
    parse_broker_secret,
    service_of,
)
from taskqueue_operator.errors import ConfigurationError
from tests.operator.builders import ADDRESS

CLUSTER_OPERATOR = {
    "host": "rabbit.shop.svc",
    "port": "5672",
    "username": "default_user",
    "password": "pa$$ word",
    "connection_string": "amqp://default_user:x@rabbit.shop.svc:5672/",
    "provider": "rabbitmq",
    "type": "rabbitmq",
}
TOPOLOGY_OPERATOR = {
    "uri": "http://rabbit.shop.svc:15672",
    "username": "default_user",
    "password": "pa$$ word",
}
PLAIN = {"uri": "amqp://default_user:pa%24%24%20word@rabbit.shop.svc:5672/jobs"}

EXPECTED = BrokerAddress(
    host="rabbit.shop.svc",
    port=5672,
    tls=False,
    username="default_user",
    password="pa$$ word",
    vhost="jobs",
)


def parse(data: dict[str, str], vhost: str = "jobs") -> BrokerAddress:
    return parse_broker_secret(data, secret="shop/rabbit", vhost=vhost)


def refusal(data: dict[str, str]) -> ConfigurationError | None:
    try:
        parse(data)
    except ConfigurationError as error:
        return error
    return None


def shown(address: BrokerAddress, *fields: str) -> dict[str, Any]:
    return {field: getattr(address, field) for field in fields}


@pytest.mark.parametrize(
    ("data", "management"),
    [
        pytest.param(CLUSTER_OPERATOR, None, id="RabbitMQ cluster operator"),
        pytest.param(TOPOLOGY_OPERATOR, "http://rabbit.shop.svc:15672", id="topology operator"),
        pytest.param(PLAIN, None, id="plain uri"),
        pytest.param(
            {"uri": "amqp://rabbit.shop.svc", "username": "default_user", "password": "pa$$ word"},
            None,
            id="plain uri with credentials beside it",
        ),
        pytest.param(
            {key: f"{value}\n" for key, value in CLUSTER_OPERATOR.items() if key != "password"}
            | {"password": "pa$$ word"},
            None,
            id="line breaks of echo",
        ),
        pytest.param({**PLAIN, "uri": PLAIN["uri"] + "\n"}, None, id="uri with a line break"),
    ],
)
def test_each_shape_gives_the_same_address(data: dict[str, str], management: str | None) -> None:
    address = parse(data)
    assert shown(address, "host", "port", "tls", "username", "password", "vhost", "ca") == shown(
        EXPECTED, "host", "port", "tls", "username", "password", "vhost", "ca"
    )
    assert address.management == management


@pytest.mark.parametrize(
    ("data", "port", "tls"),
    [
        pytest.param({**CLUSTER_OPERATOR, "port": ""}, 5672, False, id="host without port"),
        pytest.param({**CLUSTER_OPERATOR, "port": "5671"}, 5671, True, id="port of TLS"),
        pytest.param(
            {**CLUSTER_OPERATOR, "port": "30001", "connection_string": "amqps://x"},
            30001,
            True,
            id="connection string of TLS",
        ),
        pytest.param({**CLUSTER_OPERATOR, "port": "30001"}, 30001, False, id="another port"),
        pytest.param({"uri": "amqps://u:p@h"}, 5671, True, id="amqps without port"),
        pytest.param({"uri": "amqps://u:p@h:9"}, 9, True, id="amqps with port"),
        pytest.param({"uri": "amqp://u:p@h"}, 5672, False, id="amqp without port"),
        pytest.param(
            {**TOPOLOGY_OPERATOR, "uri": "https://h"}, 5671, True, id="management by https"
        ),
        pytest.param(
            {**TOPOLOGY_OPERATOR, "uri": "http://h:8080"}, 5672, False, id="management by http"
        ),
    ],
)
def test_port_and_tls_follow_from_the_secret(data: dict[str, str], port: int, tls: bool) -> None:
    address = parse(data)
    assert (address.port, address.tls) == (port, tls)


@pytest.mark.parametrize(
    ("uri", "management"),
    [
        pytest.param("http://h", "http://h:15672", id="http"),
        pytest.param("https://h", "https://h:15671", id="https"),
        pytest.param("https://h:443/rabbit/", "https://h:443/rabbit", id="a path in front"),
        pytest.param("http://[::1]:1", "http://[::1]:1", id="IPv6"),
    ],
)
def test_the_management_api_is_taken_as_named(uri: str, management: str) -> None:
    assert parse({**TOPOLOGY_OPERATOR, "uri": uri}).management == management


@pytest.mark.parametrize(
    ("ca", "expected"),
    [pytest.param("PEM", "PEM", id="a CA"), pytest.param("", None, id="an empty key")],
)
@pytest.mark.parametrize("data", [CLUSTER_OPERATOR, TOPOLOGY_OPERATOR, PLAIN])
def test_the_ca_is_taken_from_every_shape(
    data: dict[str, str], ca: str, expected: str | None
) -> None:
    assert parse({**data, "ca.crt": ca}).ca == expected


@pytest.mark.parametrize(
    ("data", "key"),
    [
        pytest.param({}, "key 'uri', or keys 'host'", id="empty"),
        pytest.param({"password": "x"}, "key 'uri', or keys 'host'", id="no host"),
        pytest.param({**CLUSTER_OPERATOR, "username": " "}, "'username'", id="no user"),
        pytest.param({**CLUSTER_OPERATOR, "password": ""}, "'password'", id="no password"),
        pytest.param({**CLUSTER_OPERATOR, "port": "http"}, "'port'", id="port no number"),
        pytest.param({**CLUSTER_OPERATOR, "port": "0"}, "'port'", id="port 0"),
        pytest.param({**CLUSTER_OPERATOR, "port": "65536"}, "'port'", id="port too high"),
        pytest.param({**CLUSTER_OPERATOR, "port": "-1"}, "'port'", id="port negative"),
        pytest.param({"uri": "amqp://host"}, "user and password", id="uri without credentials"),
        pytest.param({"uri": "amqp://u@host"}, "user and password", id="uri without password"),
        pytest.param({"uri": "amqp://u:p@"}, "must name a host", id="uri without host"),
        pytest.param({"uri": "amqp://u:p@h:99999"}, "cannot be read", id="uri, port too high"),
        pytest.param({"uri": "amqp://u:p@h:x"}, "cannot be read", id="uri, port no number"),
        pytest.param({"uri": "amqp://u:p@[::1"}, "cannot be read", id="uri, open bracket"),
        pytest.param({"uri": "redis://u:p@h"}, "must begin with", id="uri of something else"),
        pytest.param({"uri": "host:5672"}, "must begin with", id="uri without scheme"),
        pytest.param(
            {"uri": "http://h", "username": "u"}, "'password'", id="management, no password"
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(data: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigurationError, match=key) as caught:
        parse(data)
    assert caught.value.reason == "SecretInvalid"
    assert "Secret 'shop/rabbit'" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "vhost"),
    [
        pytest.param("", "jobs", id="none named"),
        pytest.param("/", "jobs", id="an empty one"),
        pytest.param("/jobs", "jobs", id="the same"),
        pytest.param("/%2F", "/", id="the default one"),
        pytest.param("/a%2Fb", "a/b", id="with a slash"),
    ],
)
def test_a_uri_may_name_the_vhost_that_the_taskqueue_asks_for(path: str, vhost: str) -> None:
    assert parse({"uri": f"amqp://u:p@h{path}"}, vhost).vhost == vhost


def test_a_uri_that_names_another_vhost_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'other' in key 'uri'.*'jobs'") as caught:
        parse({"uri": "amqp://u:p@h/other"})
    assert caught.value.reason == "VhostMismatch"


@given(
    uri=st.sampled_from(["amqp", "amqps", "http", "https", "x", ""]).flatmap(
        lambda scheme: st.text(alphabet="@:/[]%?#é\u2100 .", max_size=6).map(
            lambda rest: f"{scheme}://user:s3cr3t-value{rest}"
        )
    ),
    password=st.sampled_from(["", "s3cr3t-value"]),
    port=st.sampled_from(["", "x", "99999"]),
)
@example(uri="amqp://user:s3cr3t-value@h:port", password="", port="")
@example(uri="amqp://user:s3cr3t-value\u2100@h", password="", port="")
def test_no_message_holds_password_or_uri(uri: str, password: str, port: str) -> None:
    for data in (
        {"uri": uri, "password": password},
        {"host": "h", "password": "s3cr3t-value", "port": port},
    ):
        error = refusal(data)
        if error:
            assert "s3cr3t" not in str(error)
            assert error.__cause__ is None
            assert error.__context__ is None or error.__suppress_context__


def test_neither_repr_nor_display_show_the_password() -> None:
    assert "top secret" not in repr(ADDRESS)
    assert ADDRESS.display == "rabbit.shop.svc:5672, vhost '/', user 'admin'"


visible = st.text(min_size=1).filter(lambda text: text.strip() == text)


@given(username=visible, password=st.text(min_size=1), vhost=st.text(min_size=1))
@example(username="ü:@/", password="p@ss/w:rd%41?#[]", vhost="/")
def test_any_credentials_survive_the_uri(username: str, password: str, vhost: str) -> None:
    address = BrokerAddress(
        host="h", port=5672, tls=False, username=username, password=password, vhost=vhost
    )
    parts = urlsplit(address.uri)
    assert unquote(parts.username or "") == username
    assert unquote(parts.password or "") == password
    assert unquote(parts.path[1:]) == vhost
    read = pika.URLParameters(address.uri)
    assert read.credentials == pika.PlainCredentials(username, password)
    assert (read.host, read.port, read.virtual_host) == ("h", 5672, vhost)


@given(username=visible, password=st.text(min_size=1))
def test_any_percent_encoded_credentials_are_read(username: str, password: str) -> None:
    uri = f"amqp://{quote(username, safe='')}:{quote(password, safe='')}@h"
    address = parse({"uri": uri})
    assert (address.username, address.password) == (username, password)


@given(password=st.text(min_size=1).filter(str.strip))
def test_any_password_is_taken_as_it_is(password: str) -> None:
    assert parse({**CLUSTER_OPERATOR, "password": password}).password == password
    assert parse({**TOPOLOGY_OPERATOR, "password": password}).password == password


@pytest.mark.parametrize(
    ("data", "uri"),
    [
        pytest.param(
            {"uri": "amqps://u:p@[2001:db8::1]"}, "amqps://u:p@[2001:db8::1]:5671/jobs", id="uri"
        ),
        pytest.param(
            {"host": "2001:db8::1", "username": "u", "password": "p"},
            "amqp://u:p@[2001:db8::1]:5672/jobs",
            id="host",
        ),
    ],
)
def test_an_ipv6_host_is_bracketed_in_the_uri_only(data: dict[str, str], uri: str) -> None:
    address = parse(data)
    assert address.host == "2001:db8::1"
    assert address.uri == uri
    assert pika.URLParameters(address.uri).host == "2001:db8::1"


def test_another_user_is_at_the_same_place() -> None:
    address = parse({**TOPOLOGY_OPERATOR, "ca.crt": "PEM"})
    other = address.for_user("w", "pw")
    assert (other.username, other.password) == ("w", "pw")
    assert other.for_user(address.username, address.password) == address


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "other"},
        {"port": 1},
        {"tls": True},
        {"username": "other"},
        {"password": "other"},
        {"vhost": "other"},
        {"ca": "PEM"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_fingerprint_changes_with_all_a_client_needs(changes: dict[str, Any]) -> None:
    base: dict[str, Any] = {
        "host": "h",
        "port": 5672,
        "tls": False,
        "username": "u",
        "password": "p",
        "vhost": "/",
    }
    fingerprint = BrokerAddress(**base).fingerprint()
    assert fingerprint == BrokerAddress(**base).fingerprint()
    assert len(fingerprint) == 16
    assert BrokerAddress(**(base | changes)).fingerprint() != fingerprint


def test_a_secret_is_decoded_but_for_what_is_no_text() -> None:
    data = {
        "uri": base64.b64encode("amqp://ü".encode()).decode(),
        "binary": base64.b64encode(b"\xff\xfe").decode(),
        "broken": "=",
    }
    decoded = decode_secret({"data": data})
    assert decoded["uri"] == "amqp://ü"
    assert "binary" not in decoded
    assert decoded.get("broken", "") == ""


@pytest.mark.parametrize("secret", [{}, {"data": None}, {"data": []}, {"data": {}}], ids=repr)
def test_a_secret_without_data_is_empty(secret: dict[str, Any]) -> None:
    assert decode_secret(secret) == {}


@pytest.mark.parametrize(
    ("host", "tls", "expected"),
    [
        pytest.param("h", False, "http://h:15672", id="plain"),
        pytest.param("h", True, "https://h:15671", id="TLS"),
        pytest.param("::1", False, "http://[::1]:15672", id="IPv6"),
    ],
)
def test_the_management_api_is_on_the_brokers_host_by_default(
    host: str, tls: bool, expected: str
) -> None:
    address = BrokerAddress(host=host, port=1, tls=tls, username="u", password="p", vhost="/")
    assert default_management(address) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("rabbit", None, id="a name"),
        pytest.param("rabbit.infra", ("infra", "rabbit"), id="with namespace"),
        pytest.param("rabbit.infra.svc", ("infra", "rabbit"), id="with svc"),
        pytest.param("rabbit.infra.svc.cluster.local.", ("infra", "rabbit"), id="in full"),
        pytest.param("rabbit.example.org", None, id="a host of the internet"),
        pytest.param("10.0.0.1", None, id="an address"),
    ],
)
def test_a_host_may_mean_a_service(host: str, expected: tuple[str, str] | None) -> None:
    assert service_of(host) == expected


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        pytest.param([("amqp", 5672), ("management", 15672)], "http://h:15672", id="plain"),
        pytest.param(
            [("management", 1), ("management-tls", 15671)], "https://h:15671", id="TLS first"
        ),
        pytest.param([("amqp", 5672)], None, id="none"),
        pytest.param([], None, id="no ports"),
    ],
)
def test_a_service_may_offer_the_management_api(
    ports: list[tuple[str, int]], expected: str | None
) -> None:
    service = {"spec": {"ports": [{"name": name, "port": port} for name, port in ports]}}
    assert management_of_service(service, "h") == expected


def test_no_service_offers_nothing() -> None:
    assert management_of_service({}, "h") is None
