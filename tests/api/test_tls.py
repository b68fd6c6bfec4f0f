"""TLS contexts check chain and host name, with the CA that was given."""

import ssl

import pytest

from taskqueue_api.tls import client_context


def test_chain_and_host_name_are_checked() -> None:
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


@pytest.mark.parametrize(
    "ca",
    [
        pytest.param("no certificate", id="no PEM"),
        pytest.param("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", id="broken"),
        pytest.param("# Autorität\n", id="letters beyond ASCII"),
    ],
)
def test_a_ca_that_cannot_be_read_is_an_ssl_error(ca: str) -> None:
    with pytest.raises(ssl.SSLError):
        client_context(ca_data=ca)
