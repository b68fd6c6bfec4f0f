"""Why an `http` handler gave no answer, in words for people. Pure."""

import errno
import os
import re
import socket
import ssl

import aiohttp

from taskqueue_worker.outcomes import QUOTED_MAX, Failure, bounded, failure

_NUMBER = re.compile(r"\[Errno (\d+)\]")


def explain_fault(error: aiohttp.ClientError | OSError, host: str | None) -> Failure:
    """Return the failure of an attempt that got no answer. Never with the query of the address."""
    if isinstance(error, aiohttp.ClientResponseError):
        shown = bounded(" ".join(error.message.split()), QUOTED_MAX)
        return failure("AnswerNotHttp", f"the answer is not HTTP: {shown}")
    return failure("ConnectionFailed", f"no answer: {_words(error, host)}")


def _words(error: aiohttp.ClientError | OSError, host: str | None) -> str:
    if isinstance(error, aiohttp.InvalidURL):
        return f"{host} {error.description}"
    if isinstance(error, aiohttp.ClientConnectorError):
        name = f"[{error.host}]" if ":" in error.host else error.host
        return f"cannot connect to {name}:{error.port}: {_reason(error.os_error)}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the server broke it off"
    return _reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown reason').replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    # For a host of several addresses aiohttp puts what became of each into one text. In a pod
    # without IPv6, that `localhost` has an address of it says nothing.
    numbers = [error.errno] if error.errno else [int(one) for one in _NUMBER.findall(str(error))]
    if not numbers:
        return str(error) or type(error).__name__
    return os.strerror(errno.ECONNREFUSED if errno.ECONNREFUSED in numbers else numbers[0])
