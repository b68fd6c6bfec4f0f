"""What is said of an HTTP server that gave no answer."""

import errno
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from taskqueue_worker.http_faults import explain_fault

BOTH = (
    "Multiple exceptions: [Errno {}] Connect call failed ('::1', 80, 0, 0), [Errno {}] Connect call"
)


def unconnected(error: OSError, host: str = "mailer") -> aiohttp.ClientConnectorError:
    key = ConnectionKey(host, 80, False, True, None, None, None)
    return aiohttp.ClientConnectorError(key, error)


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: X] certificate verify failed (_ssl.c:1006)")
    error.verify_message = "self-signed certificate"
    return error


def no_tls() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(
            unconnected(OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 80)")),
            "cannot connect to mailer:80: Connection refused",
            id="refused",
        ),
        pytest.param(
            unconnected(OSError(errno.ECONNREFUSED, BOTH.format(111, 111))),
            "cannot connect to mailer:80: Connection refused",
            id="refused at each of its addresses",
        ),
        pytest.param(
            unconnected(OSError(BOTH.format(errno.EADDRNOTAVAIL, errno.ECONNREFUSED))),
            "cannot connect to mailer:80: Connection refused",
            id="refused at the one of its addresses that there can be",
        ),
        pytest.param(
            unconnected(OSError(BOTH.format(errno.EHOSTUNREACH, errno.ENETUNREACH))),
            "cannot connect to mailer:80: No route to host",
            id="unreachable in two ways",
        ),
        pytest.param(
            unconnected(OSError(errno.ECONNREFUSED, ""), "::1"),
            "cannot connect to [::1]:80: Connection refused",
            id="an address of IPv6",
        ),
        pytest.param(
            unconnected(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
            "cannot connect to mailer:80: Name or service not known",
            id="no such name",
        ),
        pytest.param(
            unconnected(untrusted()),
            "cannot connect to mailer:80: its certificate is not trusted: self-signed certificate",
            id="certificate",
        ),
        pytest.param(
            unconnected(no_tls()),
            "cannot connect to mailer:80: TLS failed: wrong version number",
            id="no TLS",
        ),
        pytest.param(
            unconnected(OSError("odd")), "cannot connect to mailer:80: odd", id="any other"
        ),
        pytest.param(
            aiohttp.ClientOSError(errno.ECONNRESET, "x"), "Connection reset by peer", id="reset"
        ),
        pytest.param(aiohttp.ServerDisconnectedError(), "Server disconnected", id="closed"),
        pytest.param(
            aiohttp.ClientPayloadError("Response payload is not completed: <ContentLengthError"),
            "the server broke it off",
            id="broken off",
        ),
        pytest.param(OSError(), "OSError", id="without words"),
    ],
)
def test_a_fault_of_a_connection_is_one_reason(
    error: aiohttp.ClientError | OSError, words: str
) -> None:
    found = explain_fault(error, "mailer")
    assert (found.type, found.message) == ("ConnectionFailed", f"no answer: {words}")
