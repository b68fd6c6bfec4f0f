"""pika's exceptions, in the shapes that pika gives them, and what they mean."""

import socket
import ssl

import pytest
from pika import exceptions
from pika.adapters.utils import connection_workflow as workflow

from taskqueue_operator.broker.faults import channel_fault, connection_fault
from taskqueue_operator.errors import BrokerRefusedError, BrokerUnavailableError

WHERE = "rabbit:5672, vhost '/', user 'admin'"

NO_VHOST = exceptions.ConnectionClosedByBroker(530, "NOT_ALLOWED - vhost jobs not found")
NO_ACCESS = exceptions.ConnectionClosedByBroker(
    530, "NOT_ALLOWED - access to vhost 'jobs' refused for user 'admin'"
)
WRONG_PASSWORD = exceptions.ConnectionClosedByBroker(
    403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."
)
LOST = exceptions.StreamLostError("Stream connection lost: ConnectionResetError(104, 'reset')")
NO_NAME = socket.gaierror(-2, "Name or service not known")
NO_PORT = ConnectionRefusedError(111, "Connection refused")
BAD_CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed")


def handshake(error: BaseException) -> Exception:
    """Return an error of the AMQP handshake as the connection's callback gets it."""
    return workflow.AMQPConnectionWorkflowFailed([workflow.AMQPConnectorAMQPHandshakeError(error)])


def transport(error: BaseException) -> Exception:
    """Return an error of the TLS handshake as the connection's callback gets it."""
    return workflow.AMQPConnectionWorkflowFailed([workflow.AMQPConnectorTransportSetupError(error)])


def connecting(*errors: BaseException) -> Exception:
    """Return errors of TCP, one per address of the host, as the connection's callback gets them."""
    failed = [workflow.AMQPConnectorSocketConnectError(error) for error in errors]
    return exceptions.AMQPConnectionError(workflow.AMQPConnectionWorkflowFailed(failed))


def probably(kind: type[Exception], error: Exception) -> Exception:
    """Return the exception that pika guesses from the stage at which the connection ended."""
    return handshake(kind(repr(error)))


@pytest.mark.parametrize(
    ("error", "refused", "reason"),
    [
        pytest.param(
            probably(exceptions.ProbableAuthenticationError, WRONG_PASSWORD),
            True,
            "AuthenticationFailed",
            id="wrong password",
        ),
        pytest.param(
            probably(exceptions.ProbableAuthenticationError, LOST),
            True,
            "AuthenticationFailed",
            id="wrong password, old protocol",
        ),
        pytest.param(WRONG_PASSWORD, True, "AuthenticationFailed", id="password withdrawn"),
        pytest.param(
            probably(exceptions.ProbableAccessDeniedError, NO_VHOST),
            True,
            "VhostNotFound",
            id="no such vhost",
        ),
        pytest.param(
            probably(exceptions.ProbableAccessDeniedError, NO_ACCESS),
            True,
            "VhostAccessRefused",
            id="vhost of others",
        ),
        pytest.param(handshake(NO_VHOST), True, "VhostNotFound", id="no such vhost, unguessed"),
        pytest.param(handshake(NO_ACCESS), True, "VhostAccessRefused", id="of others, unguessed"),
        pytest.param(
            probably(exceptions.ProbableAccessDeniedError, LOST),
            True,
            "VhostAccessRefused",
            id="ended while tuning",
        ),
        pytest.param(connecting(NO_NAME), False, "BrokerUnreachable", id="no such host"),
        pytest.param(
            workflow.AMQPConnectionWorkflowFailed([NO_NAME]),
            False,
            "BrokerUnreachable",
            id="no such host, unwrapped",
        ),
        pytest.param(connecting(NO_PORT), False, "BrokerUnreachable", id="nobody listens"),
        pytest.param(transport(BAD_CERTIFICATE), False, "TlsFailed", id="unknown CA"),
        pytest.param(BAD_CERTIFICATE, False, "TlsFailed", id="CA that cannot be read"),
        pytest.param(
            transport(ssl.SSLEOFError(8, "EOF")), False, "TlsFailed", id="no TLS over there"
        ),
        pytest.param(
            workflow.AMQPConnectionWorkflowFailed([workflow.AMQPConnectorStackTimeout("10 s")]),
            False,
            "BrokerUnreachable",
            id="stack timeout",
        ),
        pytest.param(TimeoutError(), False, "BrokerUnreachable", id="our own timeout"),
        pytest.param(LOST, False, "BrokerUnreachable", id="stream lost"),
        pytest.param(
            exceptions.AMQPHeartbeatTimeout("no activity"),
            False,
            "BrokerUnreachable",
            id="no heartbeat",
        ),
        pytest.param(
            exceptions.ConnectionBlockedTimeout("blocked"), False, "BrokerUnreachable", id="blocked"
        ),
        pytest.param(
            exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED - broker forced"),
            False,
            "BrokerUnreachable",
            id="broker stops",
        ),
        pytest.param(
            exceptions.ConnectionClosedByClient(200, "Normal shutdown"),
            False,
            "BrokerUnreachable",
            id="closed by us",
        ),
        pytest.param(
            probably(exceptions.IncompatibleProtocolError, LOST),
            False,
            "BrokerUnreachable",
            id="no RabbitMQ over there",
        ),
    ],
)
def test_an_end_of_a_connection_has_a_reason(
    error: BaseException, refused: bool, reason: str
) -> None:
    fault = connection_fault(error, WHERE)
    assert type(fault) is (BrokerRefusedError if refused else BrokerUnavailableError)
    assert fault.reason == reason
    assert WHERE in str(fault)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(handshake(NO_VHOST), "NOT_ALLOWED - vhost jobs not found (530)", id="vhost"),
        pytest.param(connecting(NO_PORT), "Connection refused", id="port"),
        pytest.param(connecting(NO_NAME), "Name or service not known", id="name"),
        pytest.param(
            connecting(OSError(101, "IPv6 unreachable"), NO_PORT),
            "Connection refused",
            id="the last address",
        ),
        pytest.param(TimeoutError(), "TimeoutError", id="no words at all"),
        pytest.param(BAD_CERTIFICATE, "'ca.crt'", id="what to do about TLS"),
    ],
)
def test_the_words_of_the_other_side_are_kept(error: BaseException, words: str) -> None:
    assert words in str(connection_fault(error, WHERE))


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        pytest.param(403, "ACCESS_REFUSED - no", "PermissionDenied", id="permission"),
        pytest.param(404, "NOT_FOUND - no queue", "NotFound", id="not there"),
        pytest.param(
            406,
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type'",
            "DeclarationRefused",
            id="other arguments",
        ),
        pytest.param(405, "RESOURCE_LOCKED - exclusive", "BrokerRefused", id="locked"),
    ],
)
def test_rabbitmq_s_own_reason_reaches_the_condition(code: int, text: str, reason: str) -> None:
    fault = channel_fault(exceptions.ChannelClosedByBroker(code, text))
    assert type(fault) is BrokerRefusedError
    assert fault.reason == reason
    assert f"{text} ({code})" in str(fault)


@pytest.mark.parametrize(
    ("queue", "advice"),
    [
        pytest.param("tq.shop.emails", "let it run empty, delete it in RabbitMQ", id="work"),
        pytest.param(
            "tqd.shop.emails", "take out of it what you need, delete it in RabbitMQ", id="dead"
        ),
        pytest.param("taskqueue.delay.07", "Tasks that wait in it are published again", id="delay"),
        pytest.param("taskqueue.unrouted", "use another vhost", id="unrouted"),
        pytest.param("of.somebody", None, id="none of ours"),
    ],
)
def test_the_advice_is_right_for_the_queue_with_other_arguments(
    queue: str, advice: str | None
) -> None:
    text = (
        f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{queue}' in vhost '/': "
        "received the value 'quorum' of type 'longstr' but current is 'classic'"
    )
    words = str(channel_fault(exceptions.ChannelClosedByBroker(406, text)))
    assert words.startswith(f"RabbitMQ answered: {text} (406)")
    assert words.endswith("(406)") if advice is None else advice in words.partition("(406): ")[2]


@pytest.mark.parametrize(
    "error",
    [
        LOST,
        exceptions.ChannelClosedByClient(0, "Normal shutdown"),
        exceptions.ChannelWrongStateError("Channel is closed."),
        exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_channel_that_ended_with_its_connection_is_unavailable(error: Exception) -> None:
    fault = channel_fault(error)
    assert type(fault) is BrokerUnavailableError
    assert fault.reason == "BrokerUnreachable"
