"""What went wrong between us and RabbitMQ, from pika's exceptions to ours.

RabbitMQ's own text is kept: it is the best explanation there is.
"""

import re
import socket
import ssl

from pika import exceptions

from taskqueue_api.names import DEAD_LETTER_PREFIX, DELAY_PREFIX, UNROUTED_QUEUE, WORK_PREFIX
from taskqueue_operator.errors import BrokerError, BrokerRefusedError, BrokerUnavailableError

_CHANNEL_REASONS = {403: "PermissionDenied", 404: "NotFound", 406: "DeclarationRefused"}

_OTHER_ARGUMENTS = 406

_DELETE = "delete it in RabbitMQ, and it is declared anew"
_ADVICE = {
    WORK_PREFIX: f"somebody else declared that queue: let it run empty, {_DELETE}",
    DEAD_LETTER_PREFIX: "somebody else declared that queue of dead letters, and nothing empties "
    f"it: take out of it what you need, {_DELETE}",
    DELAY_PREFIX: f"somebody else declared that queue of delayed messages: {_DELETE}; Tasks that "
    "wait in it are published again",
    UNROUTED_QUEUE: "that queue marks the vhost of another cluster: use another vhost or, when "
    f"that cluster is no more, {_DELETE}",
}
"""What to do about a queue with other arguments, by how its name begins."""


def connection_fault(error: BaseException, where: str) -> BrokerError:
    """Return why a connection could not be opened, or was closed.

    where: the address without credentials.
    """
    cause = _innermost(error)
    detail = _detail(cause)
    if isinstance(cause, exceptions.ProbableAuthenticationError) or "ACCESS_REFUSED" in detail:
        return BrokerRefusedError(
            "AuthenticationFailed", f"RabbitMQ at {where} refused user or password: {detail}"
        )
    if "vhost" in detail and "not found" in detail:
        return BrokerRefusedError(
            "VhostNotFound", f"RabbitMQ at {where} has no such vhost: {detail}"
        )
    if isinstance(cause, exceptions.ProbableAccessDeniedError) or "NOT_ALLOWED" in detail:
        return BrokerRefusedError(
            "VhostAccessRefused", f"RabbitMQ at {where} refused access to the vhost: {detail}"
        )
    if isinstance(cause, socket.gaierror):
        return BrokerUnavailableError(
            "BrokerUnreachable", f"the host of RabbitMQ at {where} cannot be resolved: {detail}"
        )
    if isinstance(cause, ssl.SSLError):
        return BrokerUnavailableError(
            "TlsFailed",
            f"TLS to RabbitMQ at {where} failed: {detail}; is its CA in key 'ca.crt'?",
        )
    return BrokerUnavailableError(
        "BrokerUnreachable", f"RabbitMQ at {where} cannot be reached: {detail}"
    )


def channel_fault(error: BaseException) -> BrokerError:
    """Return why a channel was closed."""
    cause = _innermost(error)
    detail = _detail(cause)
    if isinstance(cause, exceptions.ChannelClosedByBroker):
        reason = _CHANNEL_REASONS.get(cause.reply_code, "BrokerRefused")
        advice = _advice(detail) if cause.reply_code == _OTHER_ARGUMENTS else ""
        return BrokerRefusedError(reason, f"RabbitMQ answered: {detail}{advice}")
    return BrokerUnavailableError("BrokerUnreachable", f"RabbitMQ went away: {detail}")


def _advice(detail: str) -> str:
    """Return what to do about a declaration that was refused for its arguments."""
    named = re.search(r" for queue '([^']+)'", detail)
    name = named[1] if named else ""
    found = [text for prefix, text in _ADVICE.items() if name.startswith(prefix)]
    return f": {found[0]}" if found else ""


def _innermost(error: BaseException) -> BaseException:
    """Return the cause that pika wrapped in its workflow's exceptions."""
    seen = 0
    while seen < 10:
        seen += 1
        nested = getattr(error, "exceptions", None) or [
            part for part in error.args if isinstance(part, BaseException)
        ]
        if nested:
            error = nested[-1]
        elif isinstance(getattr(error, "exception", None), BaseException):
            error = error.exception  # type: ignore[attr-defined] # pika's connector errors
        else:
            break
    return error


def _detail(error: BaseException) -> str:
    code = getattr(error, "reply_code", None)
    if code is not None:
        return f"{error.reply_text} ({code})"  # type: ignore[attr-defined] # set with the code
    return str(error) or type(error).__name__
